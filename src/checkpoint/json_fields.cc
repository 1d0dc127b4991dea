#include "checkpoint/json_fields.h"

#include <cmath>

namespace exo::checkpoint {
namespace {

using nlohmann::json;

constexpr size_t kShown = 60;  // characters of a wrong value in a message

std::string Shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  return text;
}

}  // namespace

Result<json> ParseObject(std::string_view text, std::string_view name) {
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded())
    return Fail(ErrorCode::kCorrupt, "{} is not JSON (cut off?): {} bytes", name, text.size());
  if (!document.is_object())
    return Fail(ErrorCode::kCorrupt, "{} is {} instead of an object", name, Shown(document));
  return document;
}

const json* Fields::Find(std::string_view key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

template <class T, class Accepts>
Result<T> Fields::Get(std::string_view key, const std::optional<T>& absent,
                      std::string_view expected, const Accepts& accepts) const {
  const json* value = Find(key);
  if (value == nullptr) {
    if (absent) return *absent;
    return Fail(ErrorCode::kCorrupt, "{} has no '{}'", document_, key);
  }
  if (!accepts(*value)) {
    return Fail(ErrorCode::kCorrupt, "{}: '{}' is {} instead of {}", document_, key, Shown(*value),
                expected);
  }
  return value->template get<T>();
}

Result<uint64_t> Fields::Uint(std::string_view key, std::optional<uint64_t> absent) const {
  return Get<uint64_t>(key, absent, "a whole number",
                       [](const json& value) { return value.is_number_unsigned(); });
}

Result<double> Fields::Float(std::string_view key, std::optional<double> absent) const {
  return Get<double>(key, absent, "a number", [](const json& value) {
    return value.is_number() && std::isfinite(value.get<double>());
  });
}

Result<bool> Fields::Bool(std::string_view key, bool absent) const {
  return Get<bool>(key, absent, "true or false",
                   [](const json& value) { return value.is_boolean(); });
}

Result<std::string> Fields::Text(std::string_view key, std::optional<std::string> absent) const {
  return Get<std::string>(key, absent, "a text",
                          [](const json& value) { return value.is_string(); });
}

Result<std::optional<Fields>> Fields::Object(std::string_view key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::optional<Fields>();
  if (!value->is_object()) {
    return Fail(ErrorCode::kCorrupt, "{}: '{}' is {} instead of an object", document_, key,
                Shown(*value));
  }
  return std::optional<Fields>(std::in_place, *value, fmt::format("{}: {}", document_, key));
}

}  // namespace exo::checkpoint
