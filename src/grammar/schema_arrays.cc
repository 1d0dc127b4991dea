// SchemaWriter: arrays.
#include <algorithm>

#include "grammar/schema_writer.h"

namespace exo::grammar {
namespace {

constexpr uint32_t kMaxElements = 4096;  // that are counted one by one
constexpr size_t kMostReordered = 6;     // different values in any order: each set is a rule

}  // namespace

Result<ExprId> SchemaWriter::Elements(const Facts& facts, uint32_t most) {
  size_t prefix = 0;
  for (const ArrayFacts& array : facts.arrays) prefix = std::max(prefix, array.prefix.size());
  prefix = std::min<size_t>(prefix, most);
  const auto element = [&](size_t i) -> Result<ExprId> {
    return rules_.Call(TRY(ValueOf(*facts.Element(i))));
  };
  const uint32_t least = facts.min_items;
  // From the last element to the first: what follows the element before.
  ExprId behind = rules_.Empty();
  const auto fixed = static_cast<uint32_t>(prefix);
  if (most > fixed) {
    const ExprId one = TRY(element(prefix));
    const uint32_t lacks = least > fixed ? least - fixed : 0;
    const uint32_t more = most == kNoLimit ? kNoLimit : most - fixed;
    if (prefix > 0) {
      behind = rules_.Repeat(json_.Comma(one), lacks, more);
    } else {
      const uint32_t after = more == kNoLimit ? kNoLimit : more - 1;
      const ExprId all = rules_.Sequence(
          {one, rules_.Repeat(json_.Comma(one), lacks > 0 ? lacks - 1 : 0, after), json_.space()});
      return least > 0 ? all : rules_.Optional(all);
    }
  }
  for (size_t i = prefix; i-- > 0;) {
    const ExprId one = TRY(element(i));
    const ExprId here = rules_.Sequence({i == 0 ? one : json_.Comma(one), behind});
    behind = i < least ? here : rules_.Optional(here);
  }
  return rules_.Sequence({behind, json_.space()});
}

// Elements of which so many satisfy one more schema. Where their number matters too, those come
// first.
Result<ExprId> SchemaWriter::Containing(const Facts& facts, uint32_t most) {
  const ContainsFacts& contains = facts.contains[0];
  if (contains.least > most || contains.least > kMaxElements) return rules_.Never();
  Goal wanted = *facts.Element(0);
  AddTo(wanted, contains.schema);
  const ExprId good = rules_.Call(TRY(ValueOf(wanted)));
  const ExprId any = rules_.Call(TRY(ValueOf(*facts.Element(0))));
  const uint32_t least = contains.least;
  if (most != kNoLimit || facts.min_items > least) {
    const uint32_t lacks = facts.min_items > least ? facts.min_items - least : 0;
    return rules_.Sequence(
        {good, rules_.Repeat(json_.Comma(good), least - 1, least - 1),
         rules_.Repeat(json_.Comma(any), lacks, most == kNoLimit ? kNoLimit : most - least),
         json_.space()});
  }
  const ExprId before = rules_.Sequence({any, json_.space(), rules_.Bytes(","), json_.space()});
  const ExprId others = rules_.Repeat(json_.Comma(any), 0, kNoLimit);
  const ExprId next = rules_.Sequence({others, json_.Comma(good)});
  return rules_.Sequence({rules_.Repeat(before, 0, kNoLimit), good,
                          rules_.Repeat(next, least - 1, least - 1), others, json_.space()});
}

// The values that a goal allows, each once. Nullopt: they are not listed.
Result<std::optional<std::vector<Json>>> SchemaWriter::ValuesOf(const Goal& goal) {
  std::vector<Json> values;
  const auto add = [&](const Json& value) {
    const bool known =
        std::ranges::any_of(values, [&](const Json& one) { return SameValue(one, value); });
    if (!known) values.push_back(value);
  };
  const std::vector<Facts> alternatives = TRY(facts_.Of(goal));
  for (const Facts& facts : alternatives) {
    const std::vector<Json> simple = {nullptr, false, true};
    if (!facts.values.empty()) {
      for (const Json* value : facts.values[0].All()) {
        if (TRY(facts_.Allows(*value, goal))) add(*value);
      }
    } else if (facts.refused.empty() && (facts.types & ~(kNull | kBoolean)) == 0) {
      if ((facts.types & kNull) != 0) add(simple[0]);
      if ((facts.types & kBoolean) != 0) add(simple[1]), add(simple[2]);
    } else {
      return std::nullopt;
    }
  }
  return values;
}

// Elements that all differ: some of a few values in any order, of more values in that of the
// schema.
Result<ExprId> SchemaWriter::Distinct(const Facts& facts, uint32_t most) {
  const auto values = TRY(ValuesOf(*facts.Element(0)));
  if (!values) return CannotWrite("uniqueItems");
  const size_t size = values->size();
  most = static_cast<uint32_t>(std::min<size_t>(most, size));
  if (facts.min_items > most) return rules_.Never();
  const bool any_order = size <= kMostReordered;
  if (!any_order && size * (most + 1) > kMaxElements) return CannotWrite("uniqueItems");
  // A rule for what follows: `used` has a bit for each value that is written; else all up to the
  // last one that is written, and their number.
  std::map<std::pair<uint64_t, uint32_t>, RuleId> known;
  std::vector<std::pair<uint64_t, uint32_t>> open;
  const auto behind = [&](uint64_t used, uint32_t count) {
    const auto [at, is_new] = known.try_emplace({used, count});
    if (is_new) {
      at->second = rules_.AddRule();
      open.emplace_back(used, count);
    }
    return rules_.Call(at->second);
  };
  const ExprId all = behind(0, 0);
  while (!open.empty()) {
    const auto [used, count] = open.back();
    open.pop_back();
    std::vector<ExprId> ways;
    if (count >= facts.min_items) ways.push_back(rules_.Empty());
    for (size_t i = any_order ? 0 : used; count < most && i < size; ++i) {
      if (any_order && (used >> i & 1) != 0) continue;
      const ExprId value = rules_.Bytes(TextOf((*values)[i]));
      ways.push_back(
          rules_.Sequence({count == 0 ? value : json_.Comma(value),
                           behind(any_order ? used | uint64_t{1} << i : i + 1, count + 1)}));
    }
    rules_.Define(known.at({used, count}), rules_.Choice(std::move(ways)));
  }
  return rules_.Sequence({all, json_.space()});
}

Result<ExprId> SchemaWriter::Array(const Facts& facts) {
  if (!facts.refused_array.empty()) return CannotWrite(facts.refused_array);
  uint32_t most = facts.max_items;
  // The first place where there may be no element.
  size_t places = 0;
  for (const ArrayFacts& array : facts.arrays) places = std::max(places, array.prefix.size());
  for (size_t i = 0; i <= places && i < most; ++i) {
    if (!facts.Element(i)) most = static_cast<uint32_t>(i);
  }
  if (facts.min_items > most) return rules_.Never();
  if (facts.min_items > kMaxElements || (most != kNoLimit && most > kMaxElements))
    return Fail(ErrorCode::kUnsupported,
                "\"minItems\" and \"maxItems\" of the schema may be {} at most", kMaxElements);
  const auto listed = [&](ExprId inside) {
    return rules_.Sequence({rules_.Bytes("["), json_.space(), inside, rules_.Bytes("]")});
  };
  const bool unique = facts.unique && most > 1;
  if (!facts.contains.empty()) {
    if (unique || places > 0 || facts.contains.size() > 1) return CannotWrite("contains");
    return listed(TRY(Containing(facts, most)));
  }
  if (unique) {
    if (places > 0) return CannotWrite("uniqueItems");
    return listed(TRY(Distinct(facts, most)));
  }
  return listed(most == 0 ? rules_.Empty() : TRY(Elements(facts, most)));
}

}  // namespace exo::grammar
