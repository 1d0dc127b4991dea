#include "grammar/schema_check.h"

#include <algorithm>
#include <cmath>

#include "grammar/regex.h"

namespace exo::grammar {
namespace {

constexpr size_t kMaxCheckDepth = 200;
constexpr uint64_t kMaxCheckWork = 200'000;  // schemas looked at

bool HasType(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  return type == "integer" && IsInteger(value);
}

size_t CharCount(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

// The limit of a keyword; `none` when it is absent.
double Limit(const Json& schema, const char* name, double none) {
  const Json* limit = Keyword(schema, name);
  return limit != nullptr && limit->is_number() ? limit->get<double>() : none;
}

bool Unique(const Json& list) {
  for (size_t i = 0; i < list.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (SameValue(list[i], list[k])) return false;
    }
  }
  return true;
}

}  // namespace

bool SameValue(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a == b;
  if (a.type() != b.type()) return false;
  if (a.is_array()) return std::ranges::equal(a, b, SameValue);
  if (!a.is_object()) return a == b;
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.items()) {
    const auto other = b.find(key);
    if (other == b.end() || !SameValue(value, *other)) return false;
  }
  return true;
}

bool IsInteger(const Json& value) {
  if (!value.is_number_float()) return value.is_number();
  const double number = value.get<double>();
  return std::floor(number) == number && std::isfinite(number);
}

Result<const CharDfa*> TextRules::Pattern(const std::string& pattern) {
  const auto known = known_.find("p" + pattern);
  if (known != known_.end()) return &known->second;
  auto regex = ParseRegex(pattern);
  auto dfa = regex ? ToDfa(*regex, Match::kPart) : Result<CharDfa>(std::unexpected(regex.error()));
  if (!dfa)
    return Fail(dfa.error().code, "\"pattern\" {}: {}", Shown(pattern), dfa.error().message);
  return &(known_["p" + pattern] = *std::move(dfa));
}

Result<const CharDfa*> TextRules::Format(const std::string& format) {
  const auto known = known_.find("f" + format);
  if (known != known_.end()) return &known->second;
  const char* pattern = FormatPattern(format);
  if (pattern == nullptr)
    return Fail(ErrorCode::kUnsupported,
                "\"format\" {} is not supported; leave it out or use a \"pattern\"", Shown(format));
  return &(known_["f" + format] = TRY(ToDfa(TRY(ParseRegex(pattern)), Match::kAll)));
}

// Texts are looked up: a list of thousands is asked for each of its own values.
bool SchemaChecker::Lists(const Json& values, const Json& value) {
  if (!value.is_string())
    return std::ranges::any_of(values, [&](const Json& one) { return SameValue(one, value); });
  const auto [at, is_new] = texts_of_.try_emplace(&values);
  if (is_new) {
    for (const Json& one : values)
      if (one.is_string()) at->second.insert(one.get<std::string>());
  }
  return at->second.contains(value.get_ref<const std::string&>());
}

Result<bool> SchemaChecker::Satisfies(const Json& value, const Json& schema, size_t depth) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (!schema.is_object()) return true;
  if (depth > kMaxCheckDepth)
    return Fail(ErrorCode::kInvalid, "a \"$ref\" of the schema leads to itself");
  if (++work_ > kMaxCheckWork)
    return Fail(ErrorCode::kUnsupported, "the enumerations of the schema are too large");
  for (const char* name :
       {"$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"}) {
    if (Keyword(schema, name) != nullptr)
      return Fail(ErrorCode::kUnsupported, "\"{}\" is not supported here", name);
  }
  if (const Json* type = Keyword(schema, "type")) {
    const bool list = type->is_array();
    const auto fits = [&](const Json& one) {
      return one.is_string() && HasType(value, one.get<std::string>());
    };
    if (list ? !std::ranges::any_of(*type, fits) : !fits(*type)) return false;
  }
  if (const Json* values = Keyword(schema, "enum"); values != nullptr && values->is_array()) {
    if (!Lists(*values, value)) return false;
  }
  if (const Json* one = Keyword(schema, "const")) {
    if (!SameValue(*one, value)) return false;
  }
  if (!TRY(Applied(value, schema, depth)) || !TRY(Conditions(value, schema, depth))) return false;
  if (value.is_number()) return Number(value, schema);
  if (value.is_string()) return Text(value.get<std::string>(), schema);
  if (value.is_array()) return Array(value, schema, depth);
  if (value.is_object()) return Object(value, schema, depth);
  return true;
}

Result<bool> SchemaChecker::SatisfiesExactly(const Json& value, const Json& schema, size_t depth) {
  ++exact_;
  auto result = Satisfies(value, schema, depth);
  --exact_;
  return result;
}

Result<bool> SchemaChecker::Applied(const Json& value, const Json& schema, size_t depth) {
  if (const Json* reference = Keyword(schema, "$ref");
      reference != nullptr && reference->is_string()) {
    const Json* target = TRY(document_.Resolve(schema, reference->get<std::string>()));
    if (!TRY(Satisfies(value, *target, depth + 1))) return false;
  }
  for (const char* name : {"allOf", "anyOf", "oneOf"}) {
    const Json* list = Keyword(schema, name);
    if (list == nullptr || !list->is_array()) continue;
    size_t count = 0;
    const bool exact = name[0] == 'o';
    for (const Json& one : *list) {
      count +=
          TRY(exact ? SatisfiesExactly(value, one, depth + 1) : Satisfies(value, one, depth + 1))
              ? 1
              : 0;
    }
    const bool good = name[1] == 'l'   ? count == list->size()
                      : name[0] == 'a' ? count > 0
                                       : count == 1;
    if (!good) return false;
  }
  return true;
}

Result<bool> SchemaChecker::Conditions(const Json& value, const Json& schema, size_t depth) {
  if (const Json* other = Keyword(schema, "not")) {
    if (TRY(SatisfiesExactly(value, *other, depth + 1))) return false;
  }
  if (const Json* condition = Keyword(schema, "if")) {
    const bool met = TRY(SatisfiesExactly(value, *condition, depth + 1));
    const Json* branch = Keyword(schema, met ? "then" : "else");
    if (branch != nullptr && !TRY(Satisfies(value, *branch, depth + 1))) return false;
  }
  return true;
}

Result<bool> SchemaChecker::Number(const Json& value, const Json& schema) const {
  const double number = value.get<double>();
  if (number < Limit(schema, "minimum", -INFINITY) || number > Limit(schema, "maximum", INFINITY) ||
      number <= Limit(schema, "exclusiveMinimum", -INFINITY) ||
      number >= Limit(schema, "exclusiveMaximum", INFINITY))
    return false;
  const double factor = Limit(schema, "multipleOf", 0);
  if (factor <= 0) return true;
  const double times = number / factor;
  return std::isfinite(times) && std::fabs(times - std::round(times)) <= 1e-9 * std::fabs(times);
}

Result<bool> SchemaChecker::Text(const std::string& value, const Json& schema) {
  const auto length = static_cast<double>(CharCount(value));
  if (length < Limit(schema, "minLength", 0) || length > Limit(schema, "maxLength", INFINITY))
    return false;
  if (const Json* pattern = Keyword(schema, "pattern");
      pattern != nullptr && pattern->is_string()) {
    if (!TRY(texts_.Pattern(pattern->get<std::string>()))->Accepts(value)) return false;
  }
  if (const Json* format = Keyword(schema, "format"); format != nullptr && format->is_string()) {
    if (!TRY(texts_.Format(format->get<std::string>()))->Accepts(value)) {
      if (exact_ == 0) return false;
      return Fail(ErrorCode::kUnsupported,
                  "\"format\" is not supported in a oneOf, not, if or contains");
    }
  }
  return true;
}

Result<bool> SchemaChecker::Array(const Json& value, const Json& schema, size_t depth) {
  const auto size = static_cast<double>(value.size());
  if (size < Limit(schema, "minItems", 0) || size > Limit(schema, "maxItems", INFINITY))
    return false;
  const Json* unique = Keyword(schema, "uniqueItems");
  if (unique != nullptr && unique->is_boolean() && unique->get<bool>() && !Unique(value))
    return false;
  const Json* items = Keyword(schema, "items");
  const bool old = items != nullptr && items->is_array();
  const Json* prefix = old ? items : Keyword(schema, "prefixItems");
  const Json* rest = old ? Keyword(schema, "additionalItems") : items;
  const size_t first = prefix != nullptr && prefix->is_array() ? prefix->size() : 0;
  for (size_t i = 0; i < value.size(); ++i) {
    const Json* one = i < first ? &(*prefix)[i] : rest;
    if (one != nullptr && !TRY(Satisfies(value[i], *one, depth + 1))) return false;
  }
  if (const Json* contains = Keyword(schema, "contains")) {
    double count = 0;
    for (const Json& one : value) count += TRY(SatisfiesExactly(one, *contains, depth + 1)) ? 1 : 0;
    if (count < Limit(schema, "minContains", 1) || count > Limit(schema, "maxContains", INFINITY))
      return false;
  }
  return true;
}

Result<bool> SchemaChecker::Object(const Json& value, const Json& schema, size_t depth) {
  const auto size = static_cast<double>(value.size());
  if (size < Limit(schema, "minProperties", 0) || size > Limit(schema, "maxProperties", INFINITY))
    return false;
  const auto has_all = [&](const Json& names) {
    return !names.is_array() || std::ranges::all_of(names, [&](const Json& name) {
      return name.is_string() && value.contains(name.get<std::string>());
    });
  };
  if (const Json* required = Keyword(schema, "required");
      required != nullptr && !has_all(*required))
    return false;
  for (const char* name : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const Json* map = Keyword(schema, name);
    if (map == nullptr || !map->is_object()) continue;
    for (const auto& [key, more] : map->items()) {
      if (!value.contains(key)) continue;
      if (more.is_array() ? !has_all(more) : !TRY(Satisfies(value, more, depth + 1))) return false;
    }
  }
  return Members(value, schema, depth);
}

Result<bool> SchemaChecker::Members(const Json& value, const Json& schema, size_t depth) {
  const Json* properties = Keyword(schema, "properties");
  const Json* patterns = Keyword(schema, "patternProperties");
  const Json* additional = Keyword(schema, "additionalProperties");
  const Json* names = Keyword(schema, "propertyNames");
  for (const auto& [key, member] : value.items()) {
    bool known = false;
    if (const Json* one = properties == nullptr ? nullptr : Keyword(*properties, key.c_str())) {
      known = true;
      if (!TRY(Satisfies(member, *one, depth + 1))) return false;
    }
    if (patterns != nullptr && patterns->is_object()) {
      for (const auto& [pattern, one] : patterns->items()) {
        if (!TRY(texts_.Pattern(pattern))->Accepts(key)) continue;
        known = true;
        if (!TRY(Satisfies(member, one, depth + 1))) return false;
      }
    }
    if (!known && additional != nullptr && !TRY(Satisfies(member, *additional, depth + 1)))
      return false;
    if (names != nullptr && !TRY(Satisfies(Json(key), *names, depth + 1))) return false;
  }
  return true;
}

}  // namespace exo::grammar
