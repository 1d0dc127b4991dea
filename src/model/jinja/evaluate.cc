// Expressions: what they are worth.
#include <algorithm>
#include <ctime>

#include "model/chat_template.h"
#include "model/jinja/interpreter.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

constexpr int kMaxExpressionStack = 1000;
constexpr size_t kMaxDictEntries = 4096;  // look-ups are linear

}  // namespace

std::unexpected<Error> TypeError(std::string_view what, const Value& value) {
  if (const auto* undefined = value.As<Undefined>()) {
    return Fail(ErrorCode::kInvalid, "'{}' is undefined ({})", undefined->name, what);
  }
  return Fail(ErrorCode::kInvalid, "{} of an object of type {}", what, value.TypeName());
}

Result<int64_t> IntegerOr(const Value* value, int64_t absent) {
  if (value == nullptr || value->none()) return absent;
  int64_t integer = 0;
  if (value->Integer(integer)) return integer;
  return TypeError("a whole number was expected instead", *value);
}

Value Interpreter::Lookup(std::string_view name) const {
  for (size_t i = scopes_.size(); i-- > std::max<size_t>(base_, 1);) {
    if (const auto found = scopes_[i].find(name); found != scopes_[i].end()) return found->second;
  }
  if (const auto found = scopes_[0].find(name); found != scopes_[0].end()) return found->second;
  return Undefined{std::string(name)};
}

Result<Value> Interpreter::Evaluate(const Expr& expr) {
  const Deeper deeper(depth_);
  if (depth_ > kMaxExpressionStack) {
    return Fail(ErrorCode::kOverloaded, "the template nests deeper than {}", kMaxExpressionStack);
  }
  TRY(Charge(1));
  return EvaluateKind(expr);
}

Result<Value> Interpreter::EvaluateKind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kLiteral:
      return expr.value;
    case ExprKind::kName:
      return Lookup(expr.name);
    case ExprKind::kCaptured:
      return captured_;
    case ExprKind::kList:
    case ExprKind::kTuple:
      return EvaluateSequence(expr);
    case ExprKind::kDict:
      return EvaluateDict(expr);
    case ExprKind::kAttribute:
      return Attribute(TRY(Evaluate(*expr.parts[0])), expr.name);
    case ExprKind::kItem: {
      const Value value = TRY(Evaluate(*expr.parts[0]));
      return Item(value, TRY(Evaluate(*expr.parts[1])));
    }
    case ExprKind::kSlice:
      return EvaluateSlice(expr);
    case ExprKind::kCall:
      return EvaluateCall(expr);
    case ExprKind::kFilter: {
      const Value value = TRY(Evaluate(*expr.parts[0]));
      return ApplyFilter(expr.name, value, TRY(EvaluateArguments(expr.arguments)));
    }
    case ExprKind::kTest: {
      const Value value = TRY(Evaluate(*expr.parts[0]));
      return TRY(ApplyTest(expr.name, value, TRY(EvaluateArguments(expr.arguments)))) !=
             expr.negated;
    }
    case ExprKind::kNot:
      return !TRY(Evaluate(*expr.parts[0])).Truthy();
    case ExprKind::kNegate:
    case ExprKind::kPlus:
      return EvaluateUnary(expr);
    case ExprKind::kBinary: {
      const Value left = TRY(Evaluate(*expr.parts[0]));
      return ApplyBinary(*this, expr.name, left, TRY(Evaluate(*expr.parts[1])));
    }
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      Value left = TRY(Evaluate(*expr.parts[0]));
      if (left.Truthy() == (expr.kind == ExprKind::kOr)) return left;
      return Evaluate(*expr.parts[1]);
    }
    case ExprKind::kConcat:
      return EvaluateConcat(expr);
    case ExprKind::kCompare:
      return EvaluateCompare(expr);
    case ExprKind::kCondition:
      return EvaluateCondition(expr);
  }
  return Value();
}

Result<Value> Interpreter::EvaluateSequence(const Expr& expr) {
  List list{.items = {}, .tuple = expr.kind == ExprKind::kTuple};
  for (const ExprPtr& part : expr.parts) list.items.push_back(TRY(Evaluate(*part)));
  return Value(std::move(list));
}

Result<Value> Interpreter::EvaluateDict(const Expr& expr) {
  Dict dict;
  if (expr.parts.size() / 2 > kMaxDictEntries) {
    return Fail(ErrorCode::kOverloaded, "a dict of more than {} entries", kMaxDictEntries);
  }
  for (size_t i = 0; i + 1 < expr.parts.size(); i += 2) {
    Value key = TRY(Evaluate(*expr.parts[i]));
    Value value = TRY(Evaluate(*expr.parts[i + 1]));
    bool replaced = false;
    for (auto& entry : dict.entries) {
      if (!TRY(Same(entry.first, key))) continue;
      entry.second = value;
      replaced = true;
    }
    if (!replaced) dict.entries.emplace_back(std::move(key), std::move(value));
  }
  return Value(std::move(dict));
}

Result<Value> Interpreter::EvaluateSlice(const Expr& expr) {
  const Value value = TRY(Evaluate(*expr.parts[0]));
  Value bounds[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (expr.parts[i + 1] == nullptr) continue;
    bounds[i] = TRY(Evaluate(*expr.parts[i + 1]));
    given[i] = &bounds[i];
  }
  return ApplySlice(*this, value, given[0], given[1], given[2]);
}

Result<Value> Interpreter::EvaluateConcat(const Expr& expr) {
  Text text;
  for (const ExprPtr& part : expr.parts) text.Add(TRY(Print(TRY(Evaluate(*part)))));
  TRY(ChargeBytes(text.size()));
  return Value(std::move(text));
}

Result<Value> Interpreter::EvaluateUnary(const Expr& expr) {
  const Value value = TRY(Evaluate(*expr.parts[0]));
  if (!value.number()) return TypeError("the sign", value);
  int64_t integer = 0;
  const bool plus = expr.kind == ExprKind::kPlus;
  if (!value.Integer(integer)) return Value(plus ? value.Float() : -value.Float());
  if (plus) return Value(integer);
  int64_t negative = 0;
  if (__builtin_sub_overflow(int64_t{0}, integer, &negative))
    return Fail(ErrorCode::kInvalid, "a number is too large");
  return Value(negative);
}

Result<Value> Interpreter::EvaluateCompare(const Expr& expr) {
  Value left = TRY(Evaluate(*expr.parts[0]));
  for (size_t i = 0; i < expr.names.size(); ++i) {
    Value right = TRY(Evaluate(*expr.parts[i + 1]));
    const std::string& name = expr.names[i];
    bool holds = false;
    if (name == "==" || name == "!=") {
      holds = TRY(Same(left, right)) == (name == "==");
    } else if (name == "in" || name == "not in") {
      holds = TRY(Contains(right, left)) == (name == "in");
    } else {
      TRY(ChargeBytes(std::min(left.Weight(), right.Weight())));
      const int order = TRY(Compare(left, right));
      holds = name == "<"    ? order < 0
              : name == "<=" ? order <= 0
              : name == ">"  ? order > 0
                             : order >= 0;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::EvaluateCondition(const Expr& expr) {
  if (TRY(Evaluate(*expr.parts[1])).Truthy()) return Evaluate(*expr.parts[0]);
  return expr.parts[2] != nullptr ? Evaluate(*expr.parts[2])
                                  : Result<Value>(Undefined{"the missing else"});
}

Result<Arguments> Interpreter::EvaluateArguments(const std::vector<Argument>& arguments) {
  Arguments out;
  for (const Argument& argument : arguments) {
    Value value = TRY(Evaluate(*argument.value));
    if (argument.name.empty()) {
      out.values.push_back(std::move(value));
    } else {
      out.named.emplace_back(argument.name, std::move(value));
    }
  }
  return out;
}

Result<Value> Interpreter::EvaluateCall(const Expr& expr) {
  // The caller of a {% call %} block is for its own call, not for calls in the arguments.
  Value caller = std::exchange(pending_caller_, Value());
  const Value callee = TRY(Evaluate(*expr.parts[0]));
  const Arguments arguments = TRY(EvaluateArguments(expr.arguments));
  pending_caller_ = std::move(caller);
  return Call(callee, arguments);
}

Result<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  const Callable* callable = callee.callable();
  if (callable == nullptr) return TypeError("a call", callee);
  switch (callable->kind) {
    case Callable::Kind::kMacro:
    case Callable::Kind::kCaller:
      return CallMacro(*callable, arguments);
    case Callable::Kind::kMethod: {
      Value result = TRY(CallMethod(*this, callable->self[0], callable->name, arguments));
      TRY(ChargeBytes(result.Weight()));
      return result;
    }
    case Callable::Kind::kFunction:
      return CallFunction(callable->name, arguments);
  }
  return Value();
}

Result<Value> Interpreter::CallFunction(std::string_view name, const Arguments& arguments) {
  if (name == "range") return CallRange(arguments);
  if (name == "namespace") return CallNamespace(arguments);
  if (name == "strftime_now") return CallStrftime(arguments);
  if (name == "dict") {
    Dict dict;
    for (const auto& [key, value] : arguments.named)
      dict.entries.emplace_back(Value::String(key), value);
    return Value(std::move(dict));
  }
  const Value* message = arguments.Find(0, "message");
  const Text text = message == nullptr ? Text() : TRY(Print(*message));
  return Fail(ErrorCode::kInvalid, "the template refuses: {}", text.bytes.substr(0, 1000));
}

Result<Value> Interpreter::CallRange(const Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.values.size();
  if (count < 1 || count > 3) return Fail(ErrorCode::kInvalid, "range takes 1 to 3 arguments");
  for (size_t i = 0; i < count; ++i)
    bounds[count == 1 ? 1 : i] = TRY(IntegerOr(&arguments.values[i], 0));
  const auto [start, stop, step] = bounds;
  if (step == 0) return Fail(ErrorCode::kInvalid, "range with a step of 0");
  List list;
  __extension__ typedef __int128 Wide;
  const Wide distance = step > 0 ? Wide{stop} - start : Wide{start} - stop;
  const Wide stride = step > 0 ? Wide{step} : -Wide{step};
  const Wide items = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (items > static_cast<Wide>(kMaxTemplateRange)) {
    return Fail(ErrorCode::kOverloaded, "a range of more than {} numbers", kMaxTemplateRange);
  }
  TRY(Charge(static_cast<uint64_t>(items)));
  // Each number lies between start and stop; the products on the way there need not fit 64 bits.
  for (Wide i = 0; i < items; ++i) list.items.emplace_back(static_cast<int64_t>(start + i * step));
  return Value(std::move(list));
}

Result<Value> Interpreter::CallNamespace(const Arguments& arguments) {
  const auto space = std::make_shared<Namespace>();
  for (const Value& value : arguments.values) {
    if (value.dict() == nullptr) return TypeError("the attributes of a namespace", value);
    for (const auto& entry : value.dict()->entries) {
      if (entry.first.text() != nullptr) space->entries.push_back(entry);
    }
  }
  for (const auto& [key, value] : arguments.named)
    space->entries.emplace_back(Value::String(key), value);
  namespaces_.push_back(space);
  return Value(space);
}

Result<Value> Interpreter::CallStrftime(const Arguments& arguments) {
  const Value* format = arguments.Find(0, "format");
  if (format == nullptr || format->text() == nullptr)
    return Fail(ErrorCode::kInvalid, "strftime_now takes a format");
  if (format->text()->size() > 100)
    return Fail(ErrorCode::kInvalid, "a date format of more than 100 bytes");
  const std::time_t seconds = now_.value_or(0);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[4096];
  const size_t length = std::strftime(text, sizeof(text), format->text()->bytes.c_str(), &parts);
  return Value::String(std::string_view(text, length));
}

Result<bool> Interpreter::Same(const Value& a, const Value& b) {
  TRY(ChargeBytes(std::min(a.Weight(), b.Weight())));
  return Equal(a, b);
}

Result<bool> Interpreter::Contains(const Value& container, const Value& value) {
  if (container.text() != nullptr) {
    if (value.text() == nullptr) return TypeError("'in' a string", value);
    TRY(ChargeBytes(container.text()->size()));
    return FindText(container.text()->bytes, value.text()->bytes) != std::string::npos;
  }
  if (container.dict() != nullptr || container.list() != nullptr || container.undefined()) {
    for (const Value& item : TRY(Iterate(container))) {
      if (TRY(Same(item, value))) return true;
    }
    return false;
  }
  return TypeError("'in'", container);
}

Result<Text> Interpreter::Print(const Value& value) {
  TRY(ChargeBytes(value.Weight()));
  return ToText(value);
}

Result<std::vector<Value>> Interpreter::Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.list() != nullptr) {
    TRY(Charge(value.list()->items.size()));
    return value.list()->items;
  }
  if (value.dict() != nullptr) {
    TRY(Charge(value.dict()->entries.size()));
    for (const auto& entry : value.dict()->entries) items.push_back(entry.first);
    return items;
  }
  if (value.text() != nullptr) {
    TRY(Charge(value.text()->size()));
    const std::vector<size_t> starts = CharStarts(value.text()->bytes);
    for (size_t i = 0; i + 1 < starts.size(); ++i)
      items.emplace_back(value.text()->Sub(starts[i], starts[i + 1]));
    return items;
  }
  if (value.undefined()) return items;
  return TypeError("iteration", value);
}

Result<Value> Interpreter::Attribute(const Value& value, std::string_view name) {
  if (value.undefined()) return TypeError(fmt::format("attribute '{}'", name), value);
  if (HasMethod(value, name)) {
    return Value(
        Callable{.kind = Callable::Kind::kMethod, .name = std::string(name), .self = {value}});
  }
  if (value.loop() != nullptr) return CallMethod(*this, value, name, {});
  const DictEntries* entries = value.dict() != nullptr    ? &value.dict()->entries
                               : value.space() != nullptr ? &value.space()->entries
                                                          : nullptr;
  if (entries != nullptr) {
    TRY(ChargeBytes(8 * entries->size()));
    if (const Value* found = FindEntry(*entries, name)) return *found;
  }
  return Undefined{std::string(name)};
}

Result<Value> Interpreter::Item(const Value& value, const Value& key) {
  if (value.undefined()) return TypeError("an item", value);
  if (value.dict() != nullptr) {
    for (const auto& entry : value.dict()->entries) {
      if (TRY(Same(entry.first, key))) return entry.second;
    }
  }
  int64_t index = 0;
  if (key.As<bool>() == nullptr && key.Integer(index)) {
    if (value.list() != nullptr) {
      const auto size = static_cast<int64_t>(value.list()->items.size());
      if (index < 0) index += size;
      if (index >= 0 && index < size) return value.list()->items[static_cast<size_t>(index)];
    } else if (value.text() != nullptr) {
      TRY(ChargeBytes(value.text()->size()));
      const std::vector<size_t> starts = CharStarts(value.text()->bytes);
      const auto size = static_cast<int64_t>(starts.size()) - 1;
      if (index < 0) index += size;
      if (index >= 0 && index < size) {
        const auto i = static_cast<size_t>(index);
        return Value(value.text()->Sub(starts[i], starts[i + 1]));
      }
    }
    return Undefined{fmt::format("item {}", index)};
  }
  if (key.text() != nullptr) return Attribute(value, key.text()->bytes);
  return Undefined{"the item"};
}

Result<Value> Interpreter::Path(const Value& value, const Value& path) {
  if (path.text() == nullptr) return Item(value, path);
  Value current = value;
  for (const Value& part : SplitText(*path.text(), ".", -1, false)) {
    const std::string& name = part.text()->bytes;
    const bool digits = !name.empty() && name.size() < 10 &&
                        name.find_first_not_of("0123456789") == std::string::npos;
    current = TRY(Item(current, digits ? Value(static_cast<int64_t>(std::stoll(name))) : part));
  }
  return current;
}

}  // namespace exo::model::jinja
