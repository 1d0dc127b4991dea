// Jinja's tests: `value is name(arguments)`.
#include <algorithm>
#include <array>

#include "model/jinja/filters.h"
#include "model/jinja/parser_base.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

using TestFunction = Result<bool> (*)(Interpreter&, const Value&, const Arguments&);
struct TestEntry {
  std::string_view name;
  TestFunction function;
};

template <bool (*Holds)(const Value&)>
Result<bool> Simple(Interpreter&, const Value& value, const Arguments&) {
  return Holds(value);
}

bool IsDefined(const Value& value) {
  return !value.undefined();
}
bool IsUndefined(const Value& value) {
  return value.undefined();
}
bool IsNone(const Value& value) {
  return value.none();
}
bool IsString(const Value& value) {
  return value.text() != nullptr;
}
bool IsNumber(const Value& value) {
  return value.number();
}
bool IsBoolean(const Value& value) {
  return value.As<bool>() != nullptr;
}
bool IsInteger(const Value& value) {
  return value.As<int64_t>() != nullptr;
}
bool IsFloat(const Value& value) {
  return value.As<double>() != nullptr;
}
bool IsMapping(const Value& value) {
  return value.dict() != nullptr;
}
bool IsIterable(const Value& value) {
  return value.text() || value.list() || value.dict() || value.loop() || value.undefined();
}
bool IsSequence(const Value& value) {
  return value.text() || value.list() || value.dict() || value.undefined();
}
bool IsCallable(const Value& value) {
  return value.callable() != nullptr;
}
bool IsTrue(const Value& value) {
  return value.As<bool>() && *value.As<bool>();
}
bool IsFalse(const Value& value) {
  return value.As<bool>() && !*value.As<bool>();
}
bool IsEscaped(const Value&) {
  return false;
}

bool IsUpper(const Value& value) {
  const Text text = ToText(value);
  return ChangeCase(text, Case::kUpper).bytes == text.bytes &&
         ChangeCase(text, Case::kLower).bytes != text.bytes;
}
bool IsLower(const Value& value) {
  const Text text = ToText(value);
  return ChangeCase(text, Case::kLower).bytes == text.bytes &&
         ChangeCase(text, Case::kUpper).bytes != text.bytes;
}

Result<bool> Remainder(Interpreter& run, const Value& value, int64_t divisor, int64_t expected) {
  return run.Same(TRY(ApplyBinary(run, "%", value, divisor)), expected);
}
Result<bool> Odd(Interpreter& run, const Value& value, const Arguments&) {
  return Remainder(run, value, 2, 1);
}
Result<bool> Even(Interpreter& run, const Value& value, const Arguments&) {
  return Remainder(run, value, 2, 0);
}

Result<const Value*> Argument(const Arguments& arguments) {
  const Value* value = arguments.Find(0, "other");
  if (value == nullptr) return Fail(ErrorCode::kInvalid, "a test's argument is missing");
  return value;
}

Result<bool> DivisibleBy(Interpreter& run, const Value& value, const Arguments& arguments) {
  return Remainder(run, value, TRY(IntegerOr(TRY(Argument(arguments)), 0)), 0);
}
Result<bool> EqualTo(Interpreter& run, const Value& value, const Arguments& arguments) {
  return run.Same(value, *TRY(Argument(arguments)));
}
Result<bool> NotEqualTo(Interpreter& run, const Value& value, const Arguments& arguments) {
  return !TRY(run.Same(value, *TRY(Argument(arguments))));
}
Result<bool> SameAs(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Value& other = *TRY(Argument(arguments));
  return value.TypeName() == other.TypeName() && TRY(run.Same(value, other));
}
Result<bool> In(Interpreter& run, const Value& value, const Arguments& arguments) {
  return run.Contains(*TRY(Argument(arguments)), value);
}

template <bool (*Holds)(int)>
Result<bool> Order(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Value& other = *TRY(Argument(arguments));
  TRY(run.ChargeBytes(std::min(value.Weight(), other.Weight())));
  return Holds(TRY(Compare(value, other)));
}
bool Less(int order) {
  return order < 0;
}
bool LessOrEqual(int order) {
  return order <= 0;
}
bool Greater(int order) {
  return order > 0;
}
bool GreaterOrEqual(int order) {
  return order >= 0;
}

template <bool (*Has)(std::string_view)>
Result<bool> NameKnown(Interpreter&, const Value& value, const Arguments&) {
  return value.text() != nullptr && Has(value.text()->bytes);
}

constexpr std::array<TestEntry, 41> kTests = {{
    {"defined", Simple<IsDefined>},
    {"undefined", Simple<IsUndefined>},
    {"none", Simple<IsNone>},
    {"string", Simple<IsString>},
    {"number", Simple<IsNumber>},
    {"boolean", Simple<IsBoolean>},
    {"integer", Simple<IsInteger>},
    {"float", Simple<IsFloat>},
    {"mapping", Simple<IsMapping>},
    {"iterable", Simple<IsIterable>},
    {"sequence", Simple<IsSequence>},
    {"callable", Simple<IsCallable>},
    {"true", Simple<IsTrue>},
    {"false", Simple<IsFalse>},
    {"escaped", Simple<IsEscaped>},
    {"upper", Simple<IsUpper>},
    {"lower", Simple<IsLower>},
    {"odd", Odd},
    {"even", Even},
    {"divisibleby", DivisibleBy},
    {"eq", EqualTo},
    {"equalto", EqualTo},
    {"==", EqualTo},
    {"ne", NotEqualTo},
    {"!=", NotEqualTo},
    {"sameas", SameAs},
    {"in", In},
    {"lt", Order<Less>},
    {"lessthan", Order<Less>},
    {"<", Order<Less>},
    {"le", Order<LessOrEqual>},
    {"<=", Order<LessOrEqual>},
    {"gt", Order<Greater>},
    {"greaterthan", Order<Greater>},
    {">", Order<Greater>},
    {"ge", Order<GreaterOrEqual>},
    {">=", Order<GreaterOrEqual>},
    {"filter", NameKnown<HasFilter>},
    {"test", NameKnown<HasTest>},
    {"True", Simple<IsTrue>},
    {"False", Simple<IsFalse>},
}};

const TestEntry* FindTest(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &TestEntry::name);
  return found == kTests.end() ? nullptr : &*found;
}

}  // namespace

bool HasTest(std::string_view name) {
  return FindTest(name) != nullptr;
}

Result<bool> Interpreter::ApplyTest(std::string_view name, const Value& value,
                                    const Arguments& arguments) {
  const TestEntry* entry = FindTest(name);
  if (entry == nullptr) return Fail(ErrorCode::kUnsupported, "the test '{}'", name);
  TRY(Charge(1));
  if (entry->function == Simple<IsUpper> || entry->function == Simple<IsLower>)
    TRY(ChargeBytes(value.Weight()));
  return entry->function(*this, value, arguments);
}

}  // namespace exo::model::jinja
