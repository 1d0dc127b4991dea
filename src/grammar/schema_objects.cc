// SchemaWriter: objects. Members come in one order, so that a key that has been written needs not
// be remembered.
#include <algorithm>

#include "grammar/schema_writer.h"

namespace exo::grammar {
namespace {

constexpr size_t kMaxPatterns = 5;      // of keys: each set of them is a kind of key
constexpr uint32_t kMaxCounted = 64;    // members that are counted one by one
constexpr size_t kMostWrittenOut = 12;  // members in a row that may be left out
constexpr size_t kMostInOneRule = 64;   // members: a rule has a limit of states

// Every name that a schema mentions, in order.
std::vector<std::string> NamesOf(const Facts& facts) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  for (const ObjectFacts& object : facts.objects) {
    for (const auto& [name, schema] : object.properties) add(name);
  }
  for (const std::string& name : facts.required) add(name);
  return names;
}

}  // namespace

// Keys that `propertyNames` leaves: the texts of its alternatives.
Result<CharDfa> SchemaWriter::KeysOf(const Facts& facts) {
  CharDfa keys = CharDfa::Any();
  if (facts.names.empty()) return keys;
  CharDfa all{.states = {{}}};
  const std::vector<Facts> alternatives = TRY(facts_.Of(facts.names));
  for (const Facts& one : alternatives) {
    if ((one.types & kString) == 0) continue;
    if (!one.values.empty()) {
      std::vector<std::string> texts;
      for (const Json* value : one.values[0].All()) {
        if (value->is_string() && TRY(facts_.Allows(*value, facts.names)))
          texts.push_back(value->get<std::string>());
      }
      all = TRY(Or(all, CharDfa::Of(texts)));
      continue;
    }
    if (!one.refused.empty())
      return Fail(ErrorCode::kUnsupported, "\"{}\" in \"propertyNames\" is not supported",
                  one.refused);
    all = TRY(Or(all, TRY(TextsOf(one))));
  }
  return all;
}

// Keys that no name has, by the patterns that they match.
Result<void> SchemaWriter::AddOthers(const Facts& facts, const std::vector<std::string>& named,
                                     Members& members) {
  std::vector<std::string> patterns;
  bool asked = options_.open_objects || (named.empty() && facts.objects.empty());
  for (const ObjectFacts& object : facts.objects) {
    asked = asked || (object.additional != nullptr && *object.additional != Json(false));
    for (const auto& [pattern, schema] : object.patterns) {
      if (std::ranges::find(patterns, pattern) == patterns.end()) patterns.push_back(pattern);
    }
  }
  if (patterns.size() > kMaxPatterns)
    return Fail(ErrorCode::kUnsupported, "\"patternProperties\" has more than {} patterns",
                kMaxPatterns);
  if (!asked && patterns.empty()) return {};
  std::vector<std::string> taken = named;
  taken.insert(taken.end(), facts.forbidden.begin(), facts.forbidden.end());
  const CharDfa free = TRY(And(TRY(KeysOf(facts)), Not(CharDfa::Of(taken))));
  for (uint32_t matched = 0; matched < 1u << patterns.size(); ++matched) {
    if (matched == 0 && !asked) continue;
    Goal goal;
    bool possible = true;
    const auto add = [&](const Json* schema) {
      if (schema == nullptr || *schema == Json(true)) return;
      possible = possible && *schema != Json(false);
      AddTo(goal, schema);
    };
    const auto has = [&](const std::string& pattern) {
      const auto at = std::ranges::find(patterns, pattern) - patterns.begin();
      return (matched >> at & 1) != 0;
    };
    for (const ObjectFacts& object : facts.objects) {
      bool known = false;
      for (const auto& [pattern, schema] : object.patterns) {
        if (!has(pattern)) continue;
        known = true;
        add(schema);
      }
      if (!known) add(object.additional);
    }
    if (!possible) continue;
    CharDfa keys = free;
    for (const std::string& pattern : patterns) {
      const CharDfa& texts = *TRY(facts_.texts().Pattern(pattern));
      keys = TRY(And(keys, has(pattern) ? texts : Not(texts)));
    }
    if (keys.Empty()) continue;
    members.others.push_back(
        rules_.Sequence({Quoted(std::move(keys)), json_.space(), rules_.Bytes(":"), json_.space(),
                         rules_.Call(TRY(ValueOf(goal)))}));
  }
  return {};
}

Result<SchemaWriter::Members> SchemaWriter::MembersOf(const Facts& facts) {
  Members members;
  const std::vector<std::string> names = NamesOf(facts);
  for (const std::string& name : names) {
    const auto goal = TRY(facts.Member(name, facts_.texts()));
    const bool allowed =
        goal && (facts.names.empty() || TRY(facts_.Allows(Json(name), facts.names)));
    const ExprId value = allowed ? rules_.Call(TRY(ValueOf(*goal))) : rules_.Never();
    if (!allowed && !facts.Requires(name)) continue;
    members.named.push_back(
        {.pair = rules_.Sequence({rules_.Bytes(TextOf(Json(name))), json_.space(),
                                  rules_.Bytes(":"), json_.space(), value}),
         .required = facts.Requires(name)});
  }
  TRY(AddOthers(facts, names, members));
  return members;
}

// Each member or none; the first one that is written has no comma.
ExprId SchemaWriter::Plain(const Members& members, bool may_be_empty) {
  const std::vector<Member>& named = members.named;
  const ExprId others = rules_.Choice(members.others);
  const ExprId more = rules_.Repeat(json_.Comma(others), 0, kNoLimit);
  std::vector<ExprId> rest = {members.others.empty() ? rules_.Empty() : more};
  size_t run = 0, longest = 0;
  for (const Member& member : named) {
    run = member.required ? 0 : run + 1;
    longest = std::max(longest, run);
  }
  // What follows each member, the last one's first.
  for (size_t i = named.size(); i-- > 0;) {
    const ExprId pair = json_.Comma(named[i].pair);
    ExprId all = rules_.Sequence({named[i].required ? pair : rules_.Optional(pair), rest.back()});
    // Each of them may be the next one after each of those before: written out, that is very many.
    if (longest > kMostWrittenOut || named.size() > kMostInOneRule) {
      const RuleId rule = rules_.AddRule();
      rules_.Define(rule, all);
      all = rules_.Call(rule);
    }
    rest.push_back(all);
  }
  std::vector<ExprId> ways;
  bool required = false;
  for (size_t i = 0; i < named.size() && !required; ++i) {
    ways.push_back(rules_.Sequence({named[i].pair, rest[named.size() - 1 - i]}));
    required = named[i].required;
  }
  if (!required) {
    if (!members.others.empty()) ways.push_back(rules_.Sequence({others, more}));
    if (may_be_empty) ways.push_back(rules_.Empty());
  }
  return rules_.Choice(std::move(ways));
}

// With a rule for each member and number of members before it. A key that is not named may come
// twice, so that all of those count as one for the least number.
Result<ExprId> SchemaWriter::Counted(const Members& members, const Facts& facts) {
  const uint32_t least = facts.min_properties;
  const size_t size = members.named.size();
  const bool others = !members.others.empty();
  if (least > size + (others ? 1 : 0)) {
    if (!others) return rules_.Never();
    return Fail(ErrorCode::kUnsupported,
                "\"minProperties\" {} of the schema is more than the {} members that it names, and "
                "one more",
                least, size);
  }
  const auto most =
      static_cast<uint32_t>(std::min<uint64_t>(facts.max_properties, others ? kMaxCounted : size));
  if (size * (most + 1) > 16384)
    return Fail(ErrorCode::kUnsupported,
                "\"minProperties\" and \"maxProperties\" of so many members are not supported");
  const ExprId any = rules_.Choice(members.others);
  const auto first_or_more = [&](uint32_t count, ExprId pair) {
    return count == 0 ? pair : json_.Comma(pair);
  };
  // [count]: what follows when `count` members are written, from the last member to the first.
  std::vector<ExprId> behind(most + 2, rules_.Never());
  for (uint32_t count = 0; count <= most; ++count) {
    std::vector<ExprId> ways;
    if (count >= least) ways.push_back(rules_.Empty());
    if (others && count < most && count + 1 >= least)
      ways.push_back(rules_.Sequence(
          {first_or_more(count, any), rules_.Repeat(json_.Comma(any), 0, most - count - 1)}));
    behind[count] = rules_.Choice(std::move(ways));
  }
  for (size_t i = size; i-- > 0;) {
    std::vector<ExprId> here(most + 2, rules_.Never());
    for (uint32_t count = 0; count <= most && count <= i; ++count) {
      std::vector<ExprId> ways = {
          rules_.Sequence({first_or_more(count, members.named[i].pair), behind[count + 1]})};
      if (!members.named[i].required) ways.push_back(behind[count]);
      const RuleId rule = rules_.AddRule();
      rules_.Define(rule, rules_.Choice(std::move(ways)));
      here[count] = rules_.Call(rule);
    }
    behind = std::move(here);
  }
  return behind[0];
}

Result<ExprId> SchemaWriter::Object(const Facts& facts) {
  const Members members = TRY(MembersOf(facts));
  const auto required = static_cast<uint32_t>(facts.required.size());
  if (required > facts.max_properties) return rules_.Never();
  const bool counted = (facts.min_properties > std::max(required, 1u)) ||
                       facts.max_properties < members.named.size() ||
                       (facts.max_properties != UINT32_MAX && !members.others.empty());
  const ExprId inside =
      counted ? TRY(Counted(members, facts)) : Plain(members, facts.min_properties == 0);
  return rules_.Sequence(
      {rules_.Bytes("{"), json_.space(), inside, json_.space(), rules_.Bytes("}")});
}

}  // namespace exo::grammar
