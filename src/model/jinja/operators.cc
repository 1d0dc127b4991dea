// Arithmetic, slices and Python's string formatting.
#include <algorithm>
#include <cmath>

#include "model/jinja/interpreter.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

std::unexpected<Error> TooLarge() {
  return Fail(ErrorCode::kInvalid, "a number is too large");
}

std::unexpected<Error> BadOperands(std::string_view name, const Value& a, const Value& b) {
  if (a.undefined()) return TypeError(fmt::format("operator {}", name), a);
  if (b.undefined()) return TypeError(fmt::format("operator {}", name), b);
  return Fail(ErrorCode::kInvalid, "operator {} of '{}' and '{}'", name, a.TypeName(),
              b.TypeName());
}

Result<Value> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (base == 0 || base == 1) return Value(base);
    if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
    if (__builtin_mul_overflow(result, base, &result)) return TooLarge();
  }
  return Value(result);
}

// Division rounds down, as in Python.
Result<Value> IntegerDivide(std::string_view name, int64_t a, int64_t b) {
  if (b == 0) return Fail(ErrorCode::kInvalid, "division by zero");
  if (b == -1) {
    if (name == "%") return Value(int64_t{0});
    int64_t negative = 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &negative)) return TooLarge();
    return Value(negative);
  }
  int64_t quotient = a / b;
  int64_t rest = a % b;
  if (rest != 0 && (rest < 0) != (b < 0)) {
    rest += b;
    --quotient;
  }
  return Value(name == "%" ? rest : quotient);
}

Result<Value> Integers(std::string_view name, int64_t a, int64_t b) {
  int64_t result = 0;
  if (name == "+")
    return __builtin_add_overflow(a, b, &result) ? Result<Value>(TooLarge()) : Value(result);
  if (name == "-")
    return __builtin_sub_overflow(a, b, &result) ? Result<Value>(TooLarge()) : Value(result);
  if (name == "*")
    return __builtin_mul_overflow(a, b, &result) ? Result<Value>(TooLarge()) : Value(result);
  if (name == "**" && b >= 0) return IntegerPower(a, b);
  return IntegerDivide(name, a, b);
}

Result<Value> Floats(std::string_view name, double a, double b) {
  if (name == "+") return Value(a + b);
  if (name == "-") return Value(a - b);
  if (name == "*") return Value(a * b);
  if (name == "**") return Value(std::pow(a, b));
  if (b == 0) return Fail(ErrorCode::kInvalid, "division by zero");
  if (name == "/") return Value(a / b);
  if (name == "//") return Value(std::floor(a / b));
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return Value(rest);
}

Result<Value> Repeat(Interpreter& run, const Value& value, int64_t times) {
  const uint64_t count = times < 0 ? 0 : static_cast<uint64_t>(times);
  if (value.text() != nullptr) {
    const uint64_t size = value.text()->size();
    TRY(run.ChargeBytes(size == 0                         ? 0
                        : count > kMaxTemplateWork / size ? kMaxTemplateWork + 1
                                                          : count * size));
    Text text;
    for (uint64_t i = 0; i < count && size != 0; ++i) text.Add(*value.text());
    return Value(std::move(text));
  }
  const uint64_t size = value.list()->items.size();
  TRY(run.Charge(size == 0                         ? 0
                 : count > kMaxTemplateWork / size ? kMaxTemplateWork
                                                   : count * size));
  List list{.items = {}, .tuple = value.list()->tuple};
  for (uint64_t i = 0; i < count && size != 0; ++i) {
    list.items.insert(list.items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return Value(std::move(list));
}

Result<Value> AddSequences(Interpreter& run, const Value& a, const Value& b) {
  if (a.text() != nullptr) {
    TRY(run.ChargeBytes(a.text()->size() + b.text()->size()));
    Text text = *a.text();
    return Value(std::move(text.Add(*b.text())));
  }
  TRY(run.Charge(a.list()->items.size() + b.list()->items.size()));
  List list{.items = a.list()->items, .tuple = a.list()->tuple};
  list.items.insert(list.items.end(), b.list()->items.begin(), b.list()->items.end());
  return Value(std::move(list));
}

}  // namespace

Result<Value> ApplyBinary(Interpreter& run, std::string_view name, const Value& a, const Value& b) {
  if (name == "%" && a.text() != nullptr) {
    const bool tuple = b.list() != nullptr && b.list()->tuple;
    return FormatText(run, *a.text(), tuple ? b.list()->items : std::vector<Value>{b});
  }
  const bool same_sequence =
      (a.text() && b.text()) || (a.list() && b.list() && a.list()->tuple == b.list()->tuple);
  if (name == "+" && same_sequence) return AddSequences(run, a, b);
  int64_t x = 0;
  int64_t y = 0;
  if (name == "*" && (a.text() || a.list()) && b.Integer(y)) return Repeat(run, a, y);
  if (name == "*" && (b.text() || b.list()) && a.Integer(x)) return Repeat(run, b, x);
  if (!a.number() || !b.number()) return BadOperands(name, a, b);
  if (name != "/" && a.Integer(x) && b.Integer(y) && !(name == "**" && y < 0))
    return Integers(name, x, y);
  return Floats(name, a.Float(), b.Float());
}

Result<Value> ApplySlice(Interpreter& run, const Value& value, const Value* start,
                         const Value* stop, const Value* step) {
  if (value.text() == nullptr && value.list() == nullptr) return TypeError("a slice", value);
  const int64_t stride = TRY(IntegerOr(step, 1));
  if (stride == 0) return Fail(ErrorCode::kInvalid, "a slice with a step of 0");
  std::vector<size_t> starts;
  if (value.text() != nullptr) {
    TRY(run.ChargeBytes(value.text()->size()));
    starts = CharStarts(value.text()->bytes);
  }
  const auto size = static_cast<int64_t>(value.text() != nullptr ? starts.size() - 1
                                                                 : value.list()->items.size());
  const auto bound = [&](const Value* given, int64_t absent) -> Result<int64_t> {
    int64_t index = TRY(IntegerOr(given, absent));
    if (given == nullptr || given->none()) return index;
    if (index < 0) index = index < -size ? -1 : index + size;
    return std::clamp<int64_t>(index, stride < 0 ? -1 : 0, stride < 0 ? size - 1 : size);
  };
  const int64_t first = TRY(bound(start, stride > 0 ? 0 : size - 1));
  const int64_t last = TRY(bound(stop, stride > 0 ? size : -1));
  Text text;
  List list;
  if (value.list() != nullptr) list.tuple = value.list()->tuple;
  for (int64_t i = first; stride > 0 ? i < last : i > last;) {
    const auto index = static_cast<size_t>(i);
    if (value.text() != nullptr) {
      text.Add(value.text()->Sub(starts[index], starts[index + 1]));
    } else {
      TRY(run.Charge(1));
      list.items.push_back(value.list()->items[index]);
    }
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  return value.text() != nullptr ? Value(std::move(text)) : Value(std::move(list));
}

namespace {

constexpr int64_t kMaxFieldWidth = 1000;

// "%[flags][width][.precision]type" behind its "%".
struct Field {
  bool left = false;
  bool zeros = false;
  bool sign = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 's';
};

Result<Field> ReadField(std::string_view format, size_t& at) {
  Field field;
  for (; at < format.size() && std::string_view("-0+ #").contains(format[at]); ++at) {
    field.left |= format[at] == '-';
    field.zeros |= format[at] == '0';
    field.sign |= format[at] == '+';
  }
  const auto number = [&](int64_t& out) {
    for (out = 0;
         at < format.size() && format[at] >= '0' && format[at] <= '9' && out <= kMaxFieldWidth;
         ++at) {
      out = out * 10 + (format[at] - '0');
    }
  };
  number(field.width);
  if (at < format.size() && format[at] == '.') number(field.precision = (++at, 0));
  if (field.width > kMaxFieldWidth || field.precision > 100)
    return Fail(ErrorCode::kInvalid, "a format field is too wide");
  if (at >= format.size()) return Fail(ErrorCode::kInvalid, "an incomplete format");
  field.type = format[at++];
  return field;
}

Result<Text> FormatField(Interpreter& run, const Field& field, const Value& value) {
  if (field.type == 's' || field.type == 'r') {
    TRY(run.ChargeBytes(value.Weight()));
    return field.type == 's' ? ToText(value) : Repr(value);
  }
  if (!value.number()) return TypeError("a number format", value);
  int64_t integer = 0;
  const bool whole = value.Integer(integer);
  if (!whole && std::abs(value.Float()) < 9e18) integer = static_cast<int64_t>(value.Float());
  const int precision = field.precision < 0 ? 6 : static_cast<int>(field.precision);
  std::string text;
  switch (field.type) {
    case 'd':
    case 'i':
      text = std::to_string(integer);
      break;
    case 'x':
      text = fmt::format("{:x}", integer);
      break;
    case 'X':
      text = fmt::format("{:X}", integer);
      break;
    case 'f':
      text = fmt::format("{:.{}f}", value.Float(), precision);
      break;
    case 'e':
      text = fmt::format("{:.{}e}", value.Float(), precision);
      break;
    case 'g':
      text = fmt::format("{:.{}g}", value.Float(), precision);
      break;
    default:
      return Fail(ErrorCode::kUnsupported, "the format type '{}'", field.type);
  }
  if (field.sign && !text.starts_with('-')) text.insert(0, "+");
  const auto width = static_cast<size_t>(field.width);
  if (field.zeros && !field.left && text.size() < width) {
    const size_t signs = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
    text.insert(signs, width - text.size(), '0');
  }
  return Text::Of(text, true);
}

}  // namespace

Result<Value> FormatText(Interpreter& run, const Text& format, const std::vector<Value>& values) {
  Text out;
  size_t next = 0;
  for (size_t at = 0; at < format.size();) {
    if (format.bytes[at] != '%') {
      out.AddByte(format.bytes[at], format.marks[at]);
      ++at;
      continue;
    }
    ++at;
    if (at < format.size() && format.bytes[at] == '%') {
      out.AddByte('%', format.marks[at++]);
      continue;
    }
    const Field field = TRY(ReadField(format.bytes, at));
    if (next >= values.size()) return Fail(ErrorCode::kInvalid, "not enough values for the format");
    const Text text = TRY(FormatField(run, field, values[next++]));
    const size_t count = CharCount(text.bytes);
    const size_t padding =
        static_cast<size_t>(field.width) > count ? static_cast<size_t>(field.width) - count : 0;
    if (!field.left) out.Add(std::string(padding, ' '));
    out.Add(text);
    if (field.left) out.Add(std::string(padding, ' '));
    TRY(run.ChargeBytes(text.size() + padding));
  }
  if (next < values.size())
    return Fail(ErrorCode::kInvalid, "more values than the format has places");
  return Value(std::move(out));
}

}  // namespace exo::model::jinja
