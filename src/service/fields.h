// Reads typed fields of a JSON object; null counts as absent. Errors name the field (`param`).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

struct Range {
  double low;
  double high;
};

// A value for an error message: short.
std::string Shown(const Json& value);

// The value, or nullptr when the field is absent or null.
const Json* Find(const Json& object, const char* name);

Parsed<std::optional<bool>> ReadBool(const Json& object, const char* name);
Parsed<std::optional<double>> ReadNumber(const Json& object, const char* name, Range range);
// Whole numbers only (3.0 counts as 3).
Parsed<std::optional<int64_t>> ReadInteger(const Json& object, const char* name, int64_t low,
                                           int64_t high);
// Fields whose values change nothing: they must be of their kind all the same.
enum class JsonKind : uint8_t { kText, kBool, kObject, kTexts };
struct IgnoredField {
  const char* name;
  JsonKind kind;
};
Parsed<> CheckIgnored(const Json& object, std::span<const IgnoredField> fields);

Parsed<std::string> ReadRequiredString(const Json& object, const char* name, size_t max_bytes);

}  // namespace exo::service
