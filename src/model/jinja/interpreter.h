// Runs a parsed template over variables, within budgets. One object per run; not shared between
// threads.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/jinja/ast.h"

namespace exo::model::jinja {

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or called `name`; null when it was not given.
  const Value* Find(size_t index, std::string_view name) const {
    if (index < values.size()) return &values[index];
    for (const auto& [key, value] : named) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

using Variables = std::map<std::string, Value, std::less<>>;

// Bytes that all operations of one run may produce together: sixteen times the longest output.
inline constexpr uint64_t kMaxTemplateWork = 64u << 20;

// One level of recursion while it lives.
class Deeper {
 public:
  explicit Deeper(int& depth) : depth_(++depth) {}
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

class Interpreter {
 public:
  // `now`: seconds since 1970 for strftime_now; without it the template has no clock.
  Interpreter(Variables variables, std::optional<int64_t> now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Errors: kInvalid and kUnsupported with the line; kOverloaded naming the budget.
  Result<Text> Run(const Body& body);

  // For filters, tests and methods.
  Result<void> Charge(uint64_t steps);
  Result<void> ChargeBytes(uint64_t bytes);
  Result<std::vector<Value>> Iterate(const Value& value);
  Result<Value> Attribute(const Value& value, std::string_view name);
  Result<Value> Item(const Value& value, const Value& key);
  Result<Value> Path(const Value& value, const Value& path);  // "a.b.0"
  Result<Value> ApplyFilter(std::string_view name, const Value& value, const Arguments& arguments);
  Result<bool> ApplyTest(std::string_view name, const Value& value, const Arguments& arguments);
  Result<bool> Same(const Value& a, const Value& b);
  Result<bool> Contains(const Value& container, const Value& value);
  Result<Text> Print(const Value& value);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Result<Flow> Execute(const Body& body);
  Result<Flow> ExecuteOne(const Stmt& stmt);
  Result<Flow> ExecuteIf(const Stmt& stmt);
  Result<Flow> ExecuteFor(const Stmt& stmt);
  Result<Flow> ExecuteIteration(const Stmt& stmt, const std::shared_ptr<LoopState>& loop);
  Result<Flow> ExecuteSet(const Stmt& stmt);
  Result<Flow> ExecuteCaptured(const Stmt& stmt);
  Result<Flow> ExecuteWith(const Stmt& stmt);
  Result<Flow> ExecuteCallBlock(const Stmt& stmt);
  Result<std::vector<Value>> FilteredItems(const Stmt& stmt);
  Result<void> Assign(const std::vector<std::string>& targets, const Value& value);
  Result<void> Emit(const Text& text);
  Result<Text> Capture(const Body& body);

  Result<Value> Evaluate(const Expr& expr);
  Result<Value> EvaluateKind(const Expr& expr);
  Result<Value> EvaluateSequence(const Expr& expr);
  Result<Value> EvaluateDict(const Expr& expr);
  Result<Value> EvaluateSlice(const Expr& expr);
  Result<Value> EvaluateCompare(const Expr& expr);
  Result<Value> EvaluateConcat(const Expr& expr);
  Result<Value> EvaluateUnary(const Expr& expr);
  Result<Value> EvaluateCall(const Expr& expr);
  Result<Value> EvaluateCondition(const Expr& expr);
  Result<Arguments> EvaluateArguments(const std::vector<Argument>& arguments);
  Value Lookup(std::string_view name) const;

  Result<Value> Call(const Value& callee, const Arguments& arguments);
  Result<Value> CallMacro(const Callable& callable, const Arguments& arguments);
  Result<Value> CallFunction(std::string_view name, const Arguments& arguments);
  Result<Value> CallRange(const Arguments& arguments);
  Result<Value> CallNamespace(const Arguments& arguments);
  Result<Value> CallStrftime(const Arguments& arguments);

  std::vector<Variables> scopes_;  // [0]: globals
  size_t base_ = 0;  // scopes below it (but not the globals) are hidden: a macro's caller
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::optional<int64_t> now_;
  Text* out_ = nullptr;
  Value captured_;
  Value pending_caller_;
  uint64_t steps_ = 0;
  uint64_t bytes_ = 0;
  int depth_ = 0;
  int macros_ = 0;
};

// +, -, *, /, //, %, ** (operators.cc).
Result<Value> ApplyBinary(Interpreter& run, std::string_view name, const Value& a, const Value& b);
Result<Value> ApplySlice(Interpreter& run, const Value& value, const Value* start,
                         const Value* stop, const Value* step);
// Methods of strings, dicts, lists and loops (methods.cc). HasMethod: whether `value.name` is one.
bool HasMethod(const Value& value, std::string_view name);
Result<Value> CallMethod(Interpreter& run, const Value& self, std::string_view name,
                         const Arguments& arguments);
// Python's "%" on strings and the `format` filter (operators.cc).
Result<Value> FormatText(Interpreter& run, const Text& format, const std::vector<Value>& values);
std::unexpected<Error> TypeError(std::string_view what, const Value& value);
// A whole-number argument, `absent` when it is null or none. Errors: kInvalid.
Result<int64_t> IntegerOr(const Value* value, int64_t absent);

}  // namespace exo::model::jinja
