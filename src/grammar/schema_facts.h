// A schema as alternatives of plain facts: references followed, allOf joined, anyOf and oneOf
// multiplied out. What a value of one alternative is like, its facts say type by type.
//
// Thread: one caller at a time. The document outlives everything here.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "grammar/schema_check.h"

namespace exo::grammar {

enum Types : uint32_t {
  kNull = 1,
  kBoolean = 2,
  kObject = 4,
  kArray = 8,
  kNumber = 16,
  kString = 32,
  kAllTypes = 63,
};

// Schemas that must all hold, sorted. None: anything.
using Goal = std::vector<const Json*>;
inline void AddTo(Goal& goal, const Json* schema) {
  const auto at = std::lower_bound(goal.begin(), goal.end(), schema);
  if (at == goal.end() || *at != schema) goal.insert(at, schema);
}

// A limit of numbers.
struct Bound {
  const Json* value = nullptr;
  bool exclusive = false;
};

// Of an enum, or the value of a const.
struct ListedValues {
  const Json* json = nullptr;
  bool is_list = false;
  std::vector<const Json*> All() const {
    if (!is_list) return {json};
    std::vector<const Json*> all;
    for (const Json& one : *json) all.push_back(&one);
    return all;
  }
};

// What one schema object says about members, or about elements.
struct ObjectFacts {
  std::vector<std::pair<std::string, const Json*>> properties;  // null: no condition
  std::vector<std::pair<std::string, const Json*>> patterns;
  const Json* additional = nullptr;  // null: nothing said
};
struct ArrayFacts {
  std::vector<const Json*> prefix;  // null: no condition
  const Json* rest = nullptr;
};

// At least so many elements, one or more, satisfy this as well.
struct ContainsFacts {
  const Json* schema = nullptr;
  uint32_t least = 1;
};

struct Facts {
  uint32_t types = kAllTypes;
  bool integer = false;
  std::vector<ListedValues> values;  // enum and const: all of them hold
  std::vector<Bound> lower, upper;
  std::vector<const Json*> factors;  // multipleOf
  uint32_t min_length = 0, max_length = UINT32_MAX;
  std::vector<std::string> patterns, formats;
  uint32_t min_items = 0, max_items = UINT32_MAX;
  bool unique = false;
  std::vector<ArrayFacts> arrays;
  std::vector<ContainsFacts> contains;
  std::vector<ObjectFacts> objects;
  std::vector<std::string> required;  // in the order in which they were named
  std::set<std::string> forbidden;
  Goal names;  // propertyNames
  uint32_t min_properties = 0, max_properties = UINT32_MAX;
  // Keywords that we cannot write for; harmless where the type does not occur, or for listed
  // values.
  std::string refused, refused_array;

  bool Requires(const std::string& name) const;
  // What a member of this name, an element at this place must be. Nullopt: there may be none.
  Result<std::optional<Goal>> Member(const std::string& name, TextRules& texts) const;
  std::optional<Goal> Element(size_t index) const;
};

// Both hold.
void Join(Facts& facts, const Facts& more);

inline constexpr size_t kMaxAlternatives = 256;

class SchemaFacts {
 public:
  SchemaFacts(const SchemaDocument& document, TextRules& texts)
      : document_(document), texts_(texts), checker_(document, texts) {}

  // Errors: kInvalid (a keyword's value is wrong, a reference leads to itself), kUnsupported (a
  // keyword, named; too many alternatives).
  Result<std::vector<Facts>> Of(const Goal& goal);
  Result<bool> Allows(const Json& value, const Goal& goal);
  TextRules& texts() { return texts_; }

 private:
  using Alternatives = std::vector<Facts>;
  Result<const Alternatives*> Expand(const Json& schema);
  Result<Alternatives> ExpandNew(const Json& schema);
  Result<void> ReadGeneral(const Json& schema, Facts& facts);
  Result<void> ReadNumber(const Json& schema, Facts& facts);
  Result<void> ReadText(const Json& schema, Facts& facts);
  Result<void> ReadArray(const Json& schema, Facts& facts);
  Result<void> ReadObject(const Json& schema, Facts& facts);
  Result<void> AddDependencies(const Json& schema, Alternatives& all);
  Result<void> AddNot(const Json& schema, Alternatives& all);
  Result<void> AddUnevaluated(const Json& schema, Alternatives& all);
  Result<Alternatives> OneOf(const Json& list);
  // Makes `one` so narrow that nothing written for it satisfies `other` too. False: cannot tell.
  Result<bool> Exclude(Facts& one, const Facts& other, const Json& other_schema, int depth);
  // No value can satisfy both. False: cannot tell.
  Result<bool> Disjoint(const Facts& a, const Facts& b, int depth);
  Result<bool> DisjointGoals(const Goal& a, const Goal& b, int depth);
  Result<bool> DisjointTexts(const Facts& a, const Facts& b);
  Result<bool> DisjointObjects(const Facts& a, const Facts& b, int depth);
  Result<bool> DisjointArrays(const Facts& a, const Facts& b, int depth);

  const SchemaDocument& document_;
  TextRules& texts_;
  SchemaChecker checker_;
  std::map<const Json*, std::optional<Alternatives>> known_;  // nullopt: being expanded
};

}  // namespace exo::grammar
