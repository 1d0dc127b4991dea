#include "service/fields.h"

#include <algorithm>
#include <cmath>

namespace exo::service {

std::string Shown(const Json& value) {
  std::string text = Dump(value);
  if (text.size() > 64) text = text.substr(0, 64) + "...";
  return text;
}

const Json* Find(const Json& object, const char* name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Parsed<std::optional<bool>> ReadBool(const Json& object, const char* name) {
  const Json* value = Find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return BadValue(name, fmt::format("'{}' must be true or false", name));
  return value->get<bool>();
}

Parsed<std::optional<double>> ReadNumber(const Json& object, const char* name, Range range) {
  const Json* value = Find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return BadValue(name, fmt::format("'{}' must be a number", name));
  const double number = value->get<double>();
  if (!(number >= range.low && number <= range.high)) {
    return BadValue(name, fmt::format("'{}' is {}, but must be from {} to {}", name, Shown(*value),
                                      range.low, range.high));
  }
  return number;
}

Parsed<std::optional<int64_t>> ReadInteger(const Json& object, const char* name, int64_t low,
                                           int64_t high) {
  const Json* value = Find(object, name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!(number == std::floor(number)))
    return BadValue(name, fmt::format("'{}' must be a whole number", name));
  const bool fits = value->is_number_float()
                        ? std::fabs(number) <= 0x1p53
                        : !value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX;
  if (const int64_t whole = fits ? value->get<int64_t>() : 0; fits && whole >= low && whole <= high)
    return whole;
  return BadValue(
      name, fmt::format("'{}' is {}, but must be from {} to {}", name, Shown(*value), low, high));
}

Parsed<> CheckIgnored(const Json& object, std::span<const IgnoredField> fields) {
  const auto is = [](const Json& value, JsonKind kind) {
    if (kind == JsonKind::kText) return value.is_string();
    if (kind == JsonKind::kBool) return value.is_boolean();
    if (kind == JsonKind::kObject) return value.is_object();
    return value.is_array() &&
           std::ranges::all_of(value, [](const Json& one) { return one.is_string(); });
  };
  constexpr const char* kNames[] = {"a text", "true or false", "an object", "a list of texts"};
  for (const IgnoredField& field : fields) {
    const Json* value = Find(object, field.name);
    if (value == nullptr || is(*value, field.kind)) continue;
    return BadValue(field.name, fmt::format("'{}' is {}, but must be {}", field.name, Shown(*value),
                                            kNames[static_cast<size_t>(field.kind)]));
  }
  return {};
}

Parsed<std::string> ReadRequiredString(const Json& object, const char* name, size_t max_bytes) {
  const Json* value = Find(object, name);
  if (value == nullptr) {
    return std::unexpected(
        ApiError{400, fmt::format("'{}' is missing", name), name, "missing_required_parameter"});
  }
  if (!value->is_string()) return BadValue(name, fmt::format("'{}' must be a string", name));
  const auto& text = value->get_ref<const std::string&>();
  if (text.empty() || text.size() > max_bytes) {
    return BadValue(name, fmt::format("'{}' has {} bytes, but must have 1 to {}", name, text.size(),
                                      max_bytes));
  }
  return text;
}

}  // namespace exo::service
