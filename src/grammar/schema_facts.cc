#include "grammar/schema_facts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace exo::grammar {
namespace {

std::unexpected<Error> BadKeyword(const char* name, const Json& value, const char* must) {
  return Fail(ErrorCode::kInvalid, "\"{}\" is {}, but must be {}", name, Shown(value), must);
}

std::unexpected<Error> TooMany() {
  return Fail(ErrorCode::kUnsupported,
              "the schema has more than {} combinations of alternatives (anyOf, oneOf, "
              "dependencies); use fewer",
              kMaxAlternatives);
}

template <class T>
void AddAll(std::vector<T>& to, const std::vector<T>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

// A whole number from 0, of a keyword that may be absent.
Result<std::optional<uint32_t>> Count(const Json& schema, const char* name) {
  const Json* value = Keyword(schema, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !IsInteger(*value) || value->get<double>() < 0)
    return BadKeyword(name, *value, "a whole number from 0");
  return static_cast<uint32_t>(std::min(value->get<double>(), double{UINT32_MAX}));
}

Result<uint32_t> TypeOf(const Json& name, bool& integer) {
  struct Named {
    std::string_view name;
    uint32_t type;
  };
  constexpr std::array kNamed = {Named{"null", kNull},     Named{"boolean", kBoolean},
                                 Named{"object", kObject}, Named{"array", kArray},
                                 Named{"number", kNumber}, Named{"string", kString}};
  if (name == "integer") {
    integer = true;
    return kNumber;
  }
  const auto known = std::ranges::find_if(
      kNamed, [&](const Named& one) { return name.is_string() && name == one.name; });
  if (known == kNamed.end()) return BadKeyword("type", name, "a type of JSON");
  return known->type;
}

// Every way to satisfy one of `all` and one of `more`.
Result<void> Multiply(std::vector<Facts>& all, const std::vector<Facts>& more) {
  if (all.size() * more.size() > kMaxAlternatives) return TooMany();
  std::vector<Facts> out;
  for (const Facts& a : all) {
    for (const Facts& b : more) {
      Facts both = a;
      Join(both, b);
      if (both.types != 0) out.push_back(std::move(both));
    }
  }
  all = std::move(out);
  return {};
}

}  // namespace

bool Facts::Requires(const std::string& name) const {
  return std::ranges::find(required, name) != required.end();
}

Result<std::optional<Goal>> Facts::Member(const std::string& name, TextRules& texts) const {
  Goal goal;
  if (forbidden.contains(name)) return std::nullopt;
  const auto add = [&](const Json* schema) {
    if (schema != nullptr && *schema != Json(true)) AddTo(goal, schema);
    return schema == nullptr || *schema != Json(false);
  };
  for (const ObjectFacts& object : objects) {
    bool known = false;
    for (const auto& [key, schema] : object.properties) {
      if (key != name) continue;
      known = true;
      if (!add(schema)) return std::nullopt;
    }
    for (const auto& [pattern, schema] : object.patterns) {
      if (!TRY(texts.Pattern(pattern))->Accepts(name)) continue;
      known = true;
      if (!add(schema)) return std::nullopt;
    }
    if (!known && !add(object.additional)) return std::nullopt;
  }
  return goal;
}

std::optional<Goal> Facts::Element(size_t index) const {
  Goal goal;
  for (const ArrayFacts& array : arrays) {
    const Json* schema = index < array.prefix.size() ? array.prefix[index] : array.rest;
    if (schema == nullptr || *schema == Json(true)) continue;
    if (*schema == Json(false)) return std::nullopt;
    AddTo(goal, schema);
  }
  return goal;
}

void Join(Facts& facts, const Facts& more) {
  facts.types &= more.types;
  facts.integer = facts.integer || more.integer;
  AddAll(facts.values, more.values);
  AddAll(facts.lower, more.lower);
  AddAll(facts.upper, more.upper);
  AddAll(facts.factors, more.factors);
  facts.min_length = std::max(facts.min_length, more.min_length);
  facts.max_length = std::min(facts.max_length, more.max_length);
  AddAll(facts.patterns, more.patterns);
  AddAll(facts.formats, more.formats);
  facts.min_items = std::max(facts.min_items, more.min_items);
  facts.max_items = std::min(facts.max_items, more.max_items);
  facts.unique = facts.unique || more.unique;
  AddAll(facts.arrays, more.arrays);
  AddAll(facts.contains, more.contains);
  AddAll(facts.objects, more.objects);
  for (const std::string& name : more.required) {
    if (!facts.Requires(name)) facts.required.push_back(name);
  }
  facts.forbidden.insert(more.forbidden.begin(), more.forbidden.end());
  for (const Json* schema : more.names) AddTo(facts.names, schema);
  facts.min_properties = std::max(facts.min_properties, more.min_properties);
  facts.max_properties = std::min(facts.max_properties, more.max_properties);
  if (facts.refused.empty()) facts.refused = more.refused;
  if (facts.refused_array.empty()) facts.refused_array = more.refused_array;
}

Result<std::vector<Facts>> SchemaFacts::Of(const Goal& goal) {
  Alternatives all = {Facts{}};
  for (const Json* schema : goal) TRY(Multiply(all, *TRY(Expand(*schema))));
  return all;
}

Result<bool> SchemaFacts::Allows(const Json& value, const Goal& goal) {
  for (const Json* schema : goal) {
    if (!TRY(checker_.Satisfies(value, *schema))) return false;
  }
  return true;
}

Result<const SchemaFacts::Alternatives*> SchemaFacts::Expand(const Json& schema) {
  const auto known = known_.find(&schema);
  if (known != known_.end()) {
    if (!known->second)
      return Fail(ErrorCode::kInvalid, "a \"$ref\" of the schema leads to itself without end");
    return &*known->second;
  }
  known_[&schema] = std::nullopt;
  Alternatives all = TRY(ExpandNew(schema));
  std::erase_if(all, [](const Facts& facts) { return facts.types == 0; });
  return &*(known_[&schema] = std::move(all));
}

Result<SchemaFacts::Alternatives> SchemaFacts::ExpandNew(const Json& schema) {
  if (schema == Json(true)) return Alternatives{Facts{}};
  if (schema == Json(false)) return Alternatives{};
  if (!schema.is_object())
    return Fail(ErrorCode::kInvalid, "a part of the schema is {}, but must be an object",
                Shown(schema));
  Facts own;
  TRY(ReadGeneral(schema, own));
  TRY(ReadNumber(schema, own));
  TRY(ReadText(schema, own));
  TRY(ReadArray(schema, own));
  TRY(ReadObject(schema, own));
  Alternatives all = {own};
  if (const Json* reference = Keyword(schema, "$ref")) {
    if (!reference->is_string()) return BadKeyword("$ref", *reference, "a text");
    TRY(Multiply(all,
                 *TRY(Expand(*TRY(document_.Resolve(schema, reference->get<std::string>()))))));
  }
  for (const char* name : {"allOf", "anyOf", "oneOf"}) {
    const Json* list = Keyword(schema, name);
    if (list == nullptr) continue;
    if (!list->is_array() || list->empty()) return BadKeyword(name, *list, "a list of schemas");
    if (name[1] == 'l') {
      for (const Json& one : *list) TRY(Multiply(all, *TRY(Expand(one))));
    } else if (name[0] == 'o') {
      TRY(Multiply(all, TRY(OneOf(*list))));
    } else {
      Alternatives any;
      for (const Json& one : *list) AddAll(any, *TRY(Expand(one)));
      TRY(Multiply(all, any));
    }
  }
  TRY(AddDependencies(schema, all));
  TRY(AddNot(schema, all));
  TRY(AddUnevaluated(schema, all));
  return all;
}

Result<void> SchemaFacts::ReadGeneral(const Json& schema, Facts& facts) {
  if (const Json* type = Keyword(schema, "type")) {
    const Json list = type->is_array() ? *type : Json::array({*type});
    if (list.empty()) return BadKeyword("type", *type, "a type or a list of types");
    facts.types = 0;
    bool number = false;
    for (const Json& one : list) {
      bool integer = false;
      facts.types |= TRY(TypeOf(one, integer));
      number = number || one == "number";
      facts.integer = facts.integer || integer;
    }
    facts.integer = facts.integer && !number;
  }
  if (const Json* values = Keyword(schema, "enum")) {
    if (!values->is_array()) return BadKeyword("enum", *values, "a list of values");
    facts.values.push_back({values, true});
  }
  if (const Json* value = Keyword(schema, "const")) facts.values.push_back({value, false});
  for (const char* name : {"$dynamicRef", "$recursiveRef"}) {
    if (Keyword(schema, name) != nullptr) facts.refused = name;
  }
  if (Keyword(schema, "if") != nullptr &&
      (Keyword(schema, "then") != nullptr || Keyword(schema, "else") != nullptr))
    facts.refused = "if";
  return {};
}

Result<void> SchemaFacts::ReadNumber(const Json& schema, Facts& facts) {
  for (const char* name :
       {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}) {
    const Json* value = Keyword(schema, name);
    if (value == nullptr) continue;
    if (!value->is_number()) return BadKeyword(name, *value, "a number");
    const bool exclusive = name[0] == 'e';
    if (std::string_view(name) == "multipleOf") {
      if (value->get<double>() <= 0) return BadKeyword(name, *value, "a number above 0");
      facts.factors.push_back(value);
    } else {
      const bool lower = std::string_view(name).ends_with("inimum");
      (lower ? facts.lower : facts.upper).push_back({value, exclusive});
    }
  }
  return {};
}

Result<void> SchemaFacts::ReadText(const Json& schema, Facts& facts) {
  facts.min_length = TRY(Count(schema, "minLength")).value_or(0);
  facts.max_length = TRY(Count(schema, "maxLength")).value_or(UINT32_MAX);
  for (const char* name : {"pattern", "format"}) {
    const Json* value = Keyword(schema, name);
    if (value == nullptr) continue;
    if (!value->is_string()) return BadKeyword(name, *value, "a text");
    (name[0] == 'p' ? facts.patterns : facts.formats).push_back(value->get<std::string>());
  }
  return {};
}

Result<void> SchemaFacts::ReadArray(const Json& schema, Facts& facts) {
  facts.min_items = TRY(Count(schema, "minItems")).value_or(0);
  facts.max_items = TRY(Count(schema, "maxItems")).value_or(UINT32_MAX);
  const Json* unique = Keyword(schema, "uniqueItems");
  facts.unique = unique != nullptr && *unique == Json(true);
  if (const Json* contains = Keyword(schema, "contains")) {
    const uint32_t least = TRY(Count(schema, "minContains")).value_or(1);
    if (least > 0) facts.contains.push_back({contains, least});
    if (Keyword(schema, "maxContains") != nullptr) facts.refused_array = "maxContains";
  }
  const Json* items = Keyword(schema, "items");
  const bool old = items != nullptr && items->is_array();
  const Json* prefix = old ? items : Keyword(schema, "prefixItems");
  ArrayFacts array;
  array.rest = old ? Keyword(schema, "additionalItems") : items;
  if (prefix != nullptr) {
    if (!prefix->is_array()) return BadKeyword("prefixItems", *prefix, "a list of schemas");
    for (const Json& one : *prefix) array.prefix.push_back(&one);
  }
  if (array.rest != nullptr || !array.prefix.empty()) facts.arrays.push_back(std::move(array));
  return {};
}

Result<void> SchemaFacts::ReadObject(const Json& schema, Facts& facts) {
  facts.min_properties = TRY(Count(schema, "minProperties")).value_or(0);
  facts.max_properties = TRY(Count(schema, "maxProperties")).value_or(UINT32_MAX);
  ObjectFacts object{.additional = Keyword(schema, "additionalProperties")};
  for (const char* name : {"properties", "patternProperties"}) {
    const Json* map = Keyword(schema, name);
    if (map == nullptr) continue;
    if (!map->is_object()) return BadKeyword(name, *map, "an object of schemas");
    for (const auto& [key, one] : map->items())
      (name[1] == 'r' ? object.properties : object.patterns).emplace_back(key, &one);
  }
  // Also one without members says what there are.
  if (object.additional != nullptr || Keyword(schema, "properties") != nullptr ||
      !object.patterns.empty())
    facts.objects.push_back(std::move(object));
  if (const Json* names = Keyword(schema, "propertyNames")) AddTo(facts.names, names);
  if (const Json* required = Keyword(schema, "required")) {
    if (!required->is_array()) return BadKeyword("required", *required, "a list of names");
    for (const Json& name : *required) {
      if (!name.is_string()) return BadKeyword("required", *required, "a list of names");
      if (!facts.Requires(name.get<std::string>()))
        facts.required.push_back(name.get<std::string>());
    }
  }
  return {};
}

// Either the name does not occur, or what depends on it holds.
Result<void> SchemaFacts::AddDependencies(const Json& schema, Alternatives& all) {
  for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const Json* map = Keyword(schema, keyword);
    if (map == nullptr) continue;
    if (!map->is_object()) return BadKeyword(keyword, *map, "an object");
    for (const auto& [name, more] : map->items()) {
      Facts without, with;
      without.forbidden.insert(name);
      with.types = kObject;
      with.required.push_back(name);
      Alternatives both = {with};
      if (more.is_array()) {
        for (const Json& one : more) {
          if (!one.is_string()) return BadKeyword(keyword, more, "lists of names");
          if (!both[0].Requires(one.get<std::string>()))
            both[0].required.push_back(one.get<std::string>());
        }
      } else {
        TRY(Multiply(both, *TRY(Expand(more))));
      }
      both.push_back(without);
      TRY(Multiply(all, both));
    }
  }
  return {};
}

// What can be said without it: no type, none of some names.
Result<void> SchemaFacts::AddNot(const Json& schema, Alternatives& all) {
  const Json* other = Keyword(schema, "not");
  if (other == nullptr) return {};
  if (*other == Json(false)) return {};
  if (*other == Json(true) || (other->is_object() && other->empty())) {
    all.clear();
    return {};
  }
  Facts refused;
  refused.refused = "not";
  Alternatives negated = {refused};
  if (other->is_object() && other->size() == 1) {
    const std::string& name = other->begin().key();
    Facts own;
    TRY(ReadGeneral(*other, own));
    TRY(ReadObject(*other, own));
    if (name == "type" && !own.integer) {
      negated[0] = Facts{.types = kAllTypes & ~own.types};
    } else if (name == "required") {
      negated = {Facts{.types = kAllTypes & ~uint32_t{kObject}}};
      for (const std::string& one : own.required)
        negated.push_back(Facts{.types = kObject, .forbidden = {one}});
    }
  }
  return Multiply(all, negated);
}

// Everything that the schema itself and what it applies to the same value have named is evaluated;
// the rest must satisfy this.
Result<void> SchemaFacts::AddUnevaluated(const Json& schema, Alternatives& all) {
  const Json* members = Keyword(schema, "unevaluatedProperties");
  const Json* elements = Keyword(schema, "unevaluatedItems");
  for (Facts& facts : all) {
    if (members != nullptr) {
      ObjectFacts rest{.additional = members};
      bool every = false;
      for (const ObjectFacts& object : facts.objects) {
        every = every || object.additional != nullptr;
        for (const auto& [key, one] : object.properties) rest.properties.emplace_back(key, nullptr);
        for (const auto& [key, one] : object.patterns) rest.patterns.emplace_back(key, nullptr);
      }
      if (!every) facts.objects.push_back(std::move(rest));
    }
    // Which ones `contains` has evaluated depends on their values.
    if (elements != nullptr && !facts.contains.empty()) facts.refused_array = "unevaluatedItems";
    if (elements != nullptr) {
      size_t prefix = 0;
      bool every = false;
      for (const ArrayFacts& array : facts.arrays) {
        every = every || array.rest != nullptr;
        prefix = std::max(prefix, array.prefix.size());
      }
      if (!every)
        facts.arrays.push_back({.prefix = std::vector<const Json*>(prefix), .rest = elements});
    }
  }
  return {};
}

}  // namespace exo::grammar
