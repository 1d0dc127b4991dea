// SchemaFacts: alternatives of which exactly one may hold. They are written only when none of what
// one alternative writes can satisfy another one.
#include <algorithm>
#include <cmath>

#include "grammar/schema_facts.h"

namespace exo::grammar {
namespace {

constexpr int kMostDepth = 4;  // of members that tell alternatives apart

uint32_t TypeOfValue(const Json& value) {
  if (value.is_null()) return kNull;
  if (value.is_boolean()) return kBoolean;
  if (value.is_object()) return kObject;
  if (value.is_array()) return kArray;
  return value.is_number() ? kNumber : kString;
}

// The values of the first enum or const; empty: none is given.
std::vector<const Json*> Listed(const Facts& facts) {
  return facts.values.empty() ? std::vector<const Json*>() : facts.values[0].All();
}

uint32_t TypesOf(const Facts& facts) {
  if (facts.values.empty()) return facts.types;
  uint32_t types = 0;
  for (const Json* one : Listed(facts)) types |= TypeOfValue(*one);
  return types & facts.types;
}

// Objects without a member that the others require.
bool Forbid(Facts& one, const Facts& other) {
  for (const std::string& name : other.required) {
    if (one.Requires(name)) continue;
    one.forbidden.insert(name);
    return true;
  }
  return false;
}

bool DisjointNumbers(const Facts& a, const Facts& b) {
  const auto apart = [](const std::vector<Bound>& lower, const std::vector<Bound>& upper) {
    for (const Bound& low : lower) {
      for (const Bound& high : upper) {
        const double from = low.value->get<double>(), to = high.value->get<double>();
        if (from > to || (from == to && (low.exclusive || high.exclusive))) return true;
      }
    }
    return false;
  };
  return apart(a.lower, b.upper) || apart(b.lower, a.upper);
}

}  // namespace

Result<SchemaFacts::Alternatives> SchemaFacts::OneOf(const Json& list) {
  Alternatives all;
  for (size_t i = 0; i < list.size(); ++i) {
    Alternatives mine = *TRY(Expand(list[i]));
    for (Facts& facts : mine) {
      for (size_t k = 0; k < list.size(); ++k) {
        if (k == i) continue;
        for (const Facts& other : *TRY(Expand(list[k]))) {
          if (TRY(Exclude(facts, other, list[k], 0))) continue;
          return Fail(ErrorCode::kUnsupported,
                      "\"oneOf\": a value may satisfy both {} and {}; use \"anyOf\", or tell them "
                      "apart by a required member with a \"const\"",
                      Shown(list[i]), Shown(list[k]));
        }
      }
      all.push_back(facts);
    }
    if (all.size() > kMaxAlternatives)
      return Fail(ErrorCode::kUnsupported, "\"oneOf\" has more than {} alternatives",
                  kMaxAlternatives);
  }
  return all;
}

Result<bool> SchemaFacts::Exclude(Facts& one, const Facts& other, const Json& other_schema,
                                  int depth) {
  if (TRY(Disjoint(one, other, depth))) return true;
  if (!one.values.empty()) {
    bool none = true;
    for (const Json* value : Listed(one)) {
      const auto allowed = checker_.SatisfiesExactly(*value, other_schema);
      none = none && allowed && !*allowed;
    }
    if (none) return true;
  }
  if (!one.values.empty()) return false;
  // Type by type; a type of which values may satisfy both is given up while another one is left.
  const uint32_t common = TypesOf(one) & TypesOf(other);
  uint32_t given_up = 0;
  for (uint32_t type = 1; type <= kString; type <<= 1) {
    if ((common & type) == 0) continue;
    Facts left = one, right = other;
    left.types = right.types = type;
    if (TRY(Disjoint(left, right, depth)) || (type == kObject && Forbid(one, other))) continue;
    given_up |= type;
  }
  one.types &= ~given_up;
  return one.types != 0;
}

Result<bool> SchemaFacts::Disjoint(const Facts& a, const Facts& b, int depth) {
  const uint32_t common = TypesOf(a) & TypesOf(b);
  if (common == 0) return true;
  if (!a.values.empty() && !b.values.empty()) {
    const auto left = Listed(a), right = Listed(b);
    return std::ranges::none_of(left, [&](const Json* x) {
      return std::ranges::any_of(right, [&](const Json* y) { return SameValue(*x, *y); });
    });
  }
  if ((common & (kNull | kBoolean)) != 0 || depth >= kMostDepth) return false;
  if ((common & kNumber) != 0 && !DisjointNumbers(a, b)) return false;
  if ((common & kString) != 0 && !TRY(DisjointTexts(a, b))) return false;
  if ((common & kArray) != 0 && !TRY(DisjointArrays(a, b, depth))) return false;
  return (common & kObject) == 0 || TRY(DisjointObjects(a, b, depth));
}

Result<bool> SchemaFacts::DisjointGoals(const Goal& a, const Goal& b, int depth) {
  if (a.empty() || b.empty() || depth >= kMostDepth) return false;
  // A schema that is being expanded is part of itself: it tells nothing apart.
  for (const Goal* goal : {&a, &b}) {
    for (const Json* schema : *goal) {
      const auto known = known_.find(schema);
      if (known != known_.end() && !known->second) return false;
    }
  }
  const auto left = Of(a), right = Of(b);
  if (!left || !right) return false;
  for (const Facts& x : *left) {
    for (const Facts& y : *right) {
      if (!TRY(Disjoint(x, y, depth + 1))) return false;
    }
  }
  return true;
}

Result<bool> SchemaFacts::DisjointTexts(const Facts& a, const Facts& b) {
  if (a.min_length > b.max_length || b.min_length > a.max_length) return true;
  if (a.patterns.empty() || b.patterns.empty()) return false;
  CharDfa both = CharDfa::Any();
  for (const Facts* facts : {&a, &b}) {
    for (const std::string& pattern : facts->patterns)
      both = TRY(And(both, *TRY(texts_.Pattern(pattern))));
  }
  return both.Empty();
}

Result<bool> SchemaFacts::DisjointObjects(const Facts& a, const Facts& b, int depth) {
  std::vector<std::string> names = a.required;
  names.insert(names.end(), b.required.begin(), b.required.end());
  for (const std::string& name : names) {
    const auto left = TRY(a.Member(name, texts_)), right = TRY(b.Member(name, texts_));
    if (!left || !right) return true;
    if (TRY(DisjointGoals(*left, *right, depth))) return true;
  }
  return false;
}

Result<bool> SchemaFacts::DisjointArrays(const Facts& a, const Facts& b, int depth) {
  if (a.min_items > b.max_items || b.min_items > a.max_items) return true;
  const size_t sure = std::min<size_t>(std::max(a.min_items, b.min_items), 16);
  for (size_t i = 0; i < sure; ++i) {
    const auto left = a.Element(i), right = b.Element(i);
    if (!left || !right || TRY(DisjointGoals(*left, *right, depth))) return true;
  }
  return false;
}

}  // namespace exo::grammar
