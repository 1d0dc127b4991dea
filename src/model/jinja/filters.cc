// Finding and running filters; those that are neither about text nor about lists.
#include "model/jinja/filters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "model/jinja/parser_base.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

const FilterEntry* FindFilter(std::string_view name) {
  for (const auto entries : {TextFilters(), ListFilters(), ValueFilters()}) {
    const auto found = std::ranges::find(entries, name, &FilterEntry::name);
    if (found != entries.end()) return &*found;
  }
  return nullptr;
}

Result<Value> Default(Interpreter&, const Value& value, const Arguments& arguments) {
  const bool absent =
      value.undefined() || (BoolArgument(arguments, 1, "boolean", false) && !value.Truthy());
  if (!absent) return value;
  const Value* fallback = arguments.Find(0, "default_value");
  return fallback != nullptr ? *fallback : Value::String("");
}

Result<Value> Absolute(Interpreter&, const Value& value, const Arguments&) {
  int64_t integer = 0;
  if (!value.number()) return TypeError("abs", value);
  if (!value.Integer(integer)) return Value(std::abs(value.Float()));
  if (integer == std::numeric_limits<int64_t>::min())
    return Fail(ErrorCode::kInvalid, "a number is too large");
  return Value(integer < 0 ? -integer : integer);
}

// The number that a whole text is, or nothing. `more`: what from_chars takes behind the result.
template <class T, class... More>
std::optional<T> ParseNumber(const Text& text, More... more) {
  const std::string trimmed = Strip(text, Side::kBoth, nullptr).bytes;
  const std::string_view digits =
      std::string_view(trimmed).substr(trimmed.starts_with('+') ? 1 : 0);
  T number{};
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, more...);
  if (error != std::errc() || end != digits.data() + digits.size()) return {};
  return number;
}

std::optional<int64_t> ParseInteger(const Text& text, int base) {
  const Text prefix = text.Sub(0, std::min<size_t>(2, text.size()));
  const bool hex = base == 16 && (prefix.bytes == "0x" || prefix.bytes == "0X");
  return ParseNumber<int64_t>(hex ? text.Sub(2, text.size()) : text, base);
}

Result<Value> ToInt(Interpreter&, const Value& value, const Arguments& arguments) {
  const Value* given = arguments.Find(0, "default");
  const Value fallback = given != nullptr ? *given : Value(int64_t{0});
  int64_t integer = 0;
  if (value.Integer(integer)) return Value(integer);
  std::optional<double> number;
  if (value.text() != nullptr) {
    const int64_t base = TRY(IntegerOr(arguments.Find(1, "base"), 10));
    if (base < 2 || base > 36) return fallback;
    if (const auto whole = ParseInteger(*value.text(), static_cast<int>(base)))
      return Value(*whole);
    number = ParseNumber<double>(*value.text());
  } else if (value.number()) {
    number = value.Float();
  }
  if (!number || !(std::abs(*number) < 9e18)) return fallback;
  return Value(static_cast<int64_t>(*number));
}

Result<Value> ToFloat(Interpreter&, const Value& value, const Arguments& arguments) {
  const Value* given = arguments.Find(0, "default");
  if (value.number()) return Value(value.Float());
  if (value.text() != nullptr) {
    if (const auto number = ParseNumber<double>(*value.text())) return Value(*number);
  }
  return given != nullptr ? *given : Value(0.0);
}

Result<Value> Round(Interpreter&, const Value& value, const Arguments& arguments) {
  if (!value.number()) return TypeError("round", value);
  const int64_t digits = TRY(IntegerOr(arguments.Find(0, "precision"), 0));
  const Text method = TRY(TextArgumentOr(arguments, 1, "method", "common"));
  if (digits < 0 || digits > 15) return value;
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double number = value.Float();
  int64_t integer = 0;
  if (method.bytes == "common" && value.Integer(integer)) return Value(integer);
  if (method.bytes == "floor") return Value(std::floor(number * scale) / scale);
  if (method.bytes == "ceil") return Value(std::ceil(number * scale) / scale);
  double rounded = 0;  // decimal rounding of the exact value, as Python does
  const std::string text = fmt::format("{:.{}f}", number, static_cast<int>(digits));
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return Value(rounded);
}

Result<Value> Length(Interpreter&, const Value& value, const Arguments&) {
  if (value.text() != nullptr) return Value(static_cast<int64_t>(CharCount(value.text()->bytes)));
  if (value.list() != nullptr) return Value(static_cast<int64_t>(value.list()->items.size()));
  if (value.dict() != nullptr) return Value(static_cast<int64_t>(value.dict()->entries.size()));
  if (value.undefined()) return Value(int64_t{0});
  return TypeError("the length", value);
}

Result<Value> ToJsonFilter(Interpreter& run, const Value& value, const Arguments& arguments) {
  JsonOptions options;
  const Value* indent = arguments.Find(0, "indent");
  options.indent = TRY(IntegerOr(indent, -1));
  options.ensure_ascii = BoolArgument(arguments, 4, "ensure_ascii", false);
  options.sort_keys = BoolArgument(arguments, 4, "sort_keys", false);
  if (options.indent > 64) return Fail(ErrorCode::kInvalid, "an indent of {}", options.indent);
  const Value* separators = arguments.Find(4, "separators");
  if (separators != nullptr && separators->list() != nullptr &&
      separators->list()->items.size() == 2) {
    options.item_separator = ToText(separators->list()->items[0]).bytes.substr(0, 16);
    options.key_separator = ToText(separators->list()->items[1]).bytes.substr(0, 16);
  }
  const uint64_t spread = options.indent < 0 ? 1 : 2 + static_cast<uint64_t>(options.indent);
  TRY(run.ChargeBytes(value.Weight() * spread));
  return Value(TRY(ToJson(value, options)));
}

Result<Value> String(Interpreter& run, const Value& value, const Arguments&) {
  if (value.text() != nullptr) return value;
  return Value(TRY(run.Print(value)));
}

Result<Value> Unchanged(Interpreter&, const Value& value, const Arguments&) {
  return value;
}

Result<Value> Attr(Interpreter& run, const Value& value, const Arguments& arguments) {
  return run.Attribute(value, TRY(TextArgumentOr(arguments, 0, "name", "")).bytes);
}

Result<Value> Pretty(Interpreter& run, const Value& value, const Arguments&) {
  TRY(run.ChargeBytes(value.Weight()));
  return Value(Repr(value));
}

constexpr std::array<FilterEntry, 13> kCommonFilters = {{
    {"default", Default},
    {"d", Default},
    {"abs", Absolute},
    {"int", ToInt},
    {"float", ToFloat},
    {"round", Round},
    {"length", Length},
    {"count", Length},
    {"tojson", ToJsonFilter},
    {"string", String},
    {"safe", Unchanged},
    {"attr", Attr},
    {"pprint", Pretty},
}};

}  // namespace

std::span<const FilterEntry> ValueFilters() {
  return kCommonFilters;
}

bool HasFilter(std::string_view name) {
  return FindFilter(name) != nullptr;
}

bool BoolArgument(const Arguments& arguments, size_t index, std::string_view name, bool absent) {
  const Value* value = arguments.Find(index, name);
  return value == nullptr ? absent : value->Truthy();
}

Result<Text> TextArgumentOr(const Arguments& arguments, size_t index, std::string_view name,
                            std::string_view absent) {
  const Value* value = arguments.Find(index, name);
  if (value == nullptr || value->none()) return Text::Of(absent, true);
  if (value->text() == nullptr)
    return TypeError(fmt::format("a string is needed for '{}' instead", name), *value);
  return *value->text();
}

Result<Value> Interpreter::ApplyFilter(std::string_view name, const Value& value,
                                       const Arguments& arguments) {
  const FilterEntry* entry = FindFilter(name);
  if (entry == nullptr) return Fail(ErrorCode::kUnsupported, "the filter '{}'", name);
  TRY(Charge(1));
  const bool free =
      entry->function == Default || entry->function == Unchanged || entry->function == String;
  if (value.text() != nullptr && !free) TRY(ChargeBytes(value.text()->size()));
  return entry->function(*this, value, arguments);
}

}  // namespace exo::model::jinja
