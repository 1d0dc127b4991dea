// Statements: how a template's body runs.
#include <algorithm>

#include "model/chat_template.h"
#include "model/jinja/interpreter.h"

namespace exo::model::jinja {
namespace {

// Levels of calls of the interpreter itself, over all nesting: bounds the C++ stack.
constexpr int kMaxStack = 1000;

}  // namespace

Interpreter::Interpreter(Variables variables, std::optional<int64_t> now) : now_(now) {
  for (const char* name : {"range", "namespace", "dict", "raise_exception"}) {
    variables.try_emplace(name, Callable{.name = name});
  }
  if (now_) variables.try_emplace("strftime_now", Callable{.name = "strftime_now"});
  scopes_.push_back(std::move(variables));
}

// Namespaces may hold each other: what they hold goes first.
Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->entries.clear();
}

Result<void> Interpreter::Charge(uint64_t steps) {
  if (steps > kMaxTemplateSteps - std::min(steps_, kMaxTemplateSteps)) {
    return Fail(ErrorCode::kOverloaded, "the template runs for more than {} steps",
                kMaxTemplateSteps);
  }
  steps_ += steps;
  return {};
}

Result<void> Interpreter::ChargeBytes(uint64_t bytes) {
  if (bytes > kMaxTemplateWork - std::min(bytes_, kMaxTemplateWork)) {
    return Fail(ErrorCode::kOverloaded, "the template works on more than {} bytes",
                kMaxTemplateWork);
  }
  bytes_ += bytes;
  return {};
}

Result<Text> Interpreter::Run(const Body& body) {
  return Capture(body);
}

Result<Text> Interpreter::Capture(const Body& body) {
  Text text;
  Text* const outside = std::exchange(out_, &text);
  const auto done = Execute(body);
  out_ = outside;
  if (!done) return std::unexpected(done.error());
  return text;
}

Result<void> Interpreter::Emit(const Text& text) {
  TRY(ChargeBytes(text.size()));
  if (out_->size() + text.size() > kMaxTemplateOutput) {
    return Fail(ErrorCode::kOverloaded, "the template writes more than {} bytes",
                kMaxTemplateOutput);
  }
  out_->Add(text);
  return {};
}

Result<Interpreter::Flow> Interpreter::Execute(const Body& body) {
  for (const auto& stmt : body) {
    TRY(Charge(1));
    auto flow = ExecuteOne(*stmt);
    if (!flow) {
      if (flow.error().message.starts_with("line ")) return flow;
      return Wrap(flow.error(), fmt::format("line {}", stmt->line));
    }
    if (*flow != Flow::kNext) return *flow;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteOne(const Stmt& stmt) {
  const Deeper deeper(depth_);
  if (depth_ > kMaxStack)
    return Fail(ErrorCode::kOverloaded, "the template nests deeper than {}", kMaxStack);
  switch (stmt.kind) {
    case StmtKind::kData:
      TRY(Emit(Text::Of(stmt.data, true)));
      return Flow::kNext;
    case StmtKind::kPrint: {
      const Value value = TRY(Evaluate(*stmt.expr));
      TRY(Emit(value.text() != nullptr ? *value.text() : TRY(Print(value))));
      return Flow::kNext;
    }
    case StmtKind::kIf:
      return ExecuteIf(stmt);
    case StmtKind::kFor:
      return ExecuteFor(stmt);
    case StmtKind::kSet:
      return ExecuteSet(stmt);
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
      return ExecuteCaptured(stmt);
    case StmtKind::kWith:
      return ExecuteWith(stmt);
    case StmtKind::kCallBlock:
      return ExecuteCallBlock(stmt);
    case StmtKind::kMacro:
      scopes_.back().insert_or_assign(stmt.macro->name, Callable{.kind = Callable::Kind::kMacro,
                                                                 .name = stmt.macro->name,
                                                                 .macro = stmt.macro.get()});
      return Flow::kNext;
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteIf(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (branch.condition == nullptr || TRY(Evaluate(*branch.condition)).Truthy())
      return Execute(branch.body);
  }
  return Flow::kNext;
}

// The items that pass the loop's own condition.
Result<std::vector<Value>> Interpreter::FilteredItems(const Stmt& stmt) {
  std::vector<Value> items = TRY(Iterate(TRY(Evaluate(*stmt.expr))));
  if (stmt.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    scopes_.emplace_back();
    auto passes = [&]() -> Result<bool> {
      TRY(Assign(stmt.targets, item));
      return TRY(Evaluate(*stmt.condition)).Truthy();
    }();
    scopes_.pop_back();
    if (TRY(std::move(passes))) kept.push_back(std::move(item));
  }
  return kept;
}

Result<Interpreter::Flow> Interpreter::ExecuteFor(const Stmt& stmt) {
  const auto loop = std::make_shared<LoopState>();
  loop->owned = TRY(FilteredItems(stmt));
  Result<Flow> flow = Flow::kNext;
  for (loop->index = 0; loop->index < loop->owned.size(); ++loop->index) {
    scopes_.emplace_back();
    flow = ExecuteIteration(stmt, loop);
    scopes_.pop_back();
    if (!flow || *flow == Flow::kBreak) break;
  }
  loop->last_changed = Value();  // a loop may have been kept in itself
  if (!flow) return flow;
  if (!loop->owned.empty()) return Flow::kNext;
  scopes_.emplace_back();
  flow = Execute(stmt.otherwise);
  scopes_.pop_back();
  return flow;
}

Result<Interpreter::Flow> Interpreter::ExecuteIteration(const Stmt& stmt,
                                                        const std::shared_ptr<LoopState>& loop) {
  TRY(Charge(1));
  TRY(Assign(stmt.targets, loop->owned[loop->index]));
  scopes_.back().insert_or_assign("loop", loop);
  return Execute(stmt.body);
}

Result<void> Interpreter::Assign(const std::vector<std::string>& targets, const Value& value) {
  if (targets.size() == 1) {
    scopes_.back().insert_or_assign(targets[0], value);
    return {};
  }
  const std::vector<Value> parts = TRY(Iterate(value));
  if (parts.size() != targets.size()) {
    return Fail(ErrorCode::kInvalid, "{} values for {} names", parts.size(), targets.size());
  }
  for (size_t i = 0; i < parts.size(); ++i) scopes_.back().insert_or_assign(targets[i], parts[i]);
  return {};
}

Result<Interpreter::Flow> Interpreter::ExecuteSet(const Stmt& stmt) {
  Value value = TRY(Evaluate(*stmt.expr));
  if (stmt.attribute.empty()) {
    TRY(Assign(stmt.targets, value));
    return Flow::kNext;
  }
  const Value owner = Lookup(stmt.targets[0]);
  Namespace* space = owner.space();
  if (space == nullptr) {
    return Fail(ErrorCode::kInvalid, "'{}' is no namespace, its attributes cannot be set",
                stmt.targets[0]);
  }
  TRY(Charge(space->entries.size()));
  for (auto& [key, held] : space->entries) {
    if (key.text()->bytes != stmt.attribute) continue;
    held = std::move(value);
    return Flow::kNext;
  }
  space->entries.emplace_back(Value::String(stmt.attribute), std::move(value));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteCaptured(const Stmt& stmt) {
  scopes_.emplace_back();
  auto text = Capture(stmt.body);
  scopes_.pop_back();
  const Value outside = std::exchange(captured_, Value(TRY(std::move(text))));
  auto value = Evaluate(*stmt.expr);
  captured_ = outside;
  if (!value) return std::unexpected(value.error());
  if (stmt.kind == StmtKind::kSetBlock) {
    TRY(Assign(stmt.targets, *value));
  } else {
    TRY(Emit(TRY(Print(*value))));
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteWith(const Stmt& stmt) {
  Variables scope;
  for (size_t i = 0; i < stmt.values.size(); ++i)
    scope.insert_or_assign(stmt.targets[i], TRY(Evaluate(*stmt.values[i])));
  scopes_.push_back(std::move(scope));
  auto flow = Execute(stmt.body);
  scopes_.pop_back();
  return flow;
}

// {% call macro() %}body{% endcall %}: the macro sees the body as `caller`.
Result<Interpreter::Flow> Interpreter::ExecuteCallBlock(const Stmt& stmt) {
  pending_caller_ = Callable{.kind = Callable::Kind::kCaller,
                             .name = "caller",
                             .macro = stmt.macro.get(),
                             .scope_depth = scopes_.size(),
                             .scope_base = base_};
  auto value = Evaluate(*stmt.expr);
  pending_caller_ = Value();
  if (!value) return std::unexpected(value.error());
  TRY(Emit(TRY(Print(*value))));
  return Flow::kNext;
}

Result<Value> Interpreter::CallMacro(const Callable& callable, const Arguments& arguments) {
  const MacroDef& macro = *callable.macro;
  const Deeper deeper(macros_);
  if (macros_ > static_cast<int>(kMaxTemplateDepth)) {
    return Fail(ErrorCode::kOverloaded, "macros call each other deeper than {}", kMaxTemplateDepth);
  }
  if (arguments.values.size() > macro.parameters.size()) {
    return Fail(ErrorCode::kInvalid, "macro '{}' takes {} arguments, {} are given", macro.name,
                macro.parameters.size(), arguments.values.size());
  }
  for (const auto& [name, value] : arguments.named) {
    if (std::ranges::find(macro.parameters, name) == macro.parameters.end()) {
      return Fail(ErrorCode::kInvalid, "macro '{}' has no parameter '{}'", macro.name, name);
    }
  }
  // A caller's body sees the scopes of its place while these still exist, a macro only the globals.
  const bool caller =
      callable.kind == Callable::Kind::kCaller && callable.scope_depth <= scopes_.size();
  Variables scope;
  if (!callable.name.empty() && !caller && !pending_caller_.undefined()) {
    scope.insert_or_assign("caller", std::exchange(pending_caller_, Value()));
  }
  std::vector<Variables> hidden;
  const size_t base = base_;
  if (caller) {
    hidden.assign(std::make_move_iterator(scopes_.begin() +
                                          static_cast<std::ptrdiff_t>(callable.scope_depth)),
                  std::make_move_iterator(scopes_.end()));
    scopes_.resize(callable.scope_depth);
    base_ = callable.scope_base;
  } else {
    base_ = scopes_.size();
  }
  const size_t bottom = scopes_.size();
  scopes_.push_back(std::move(scope));
  auto text = [&]() -> Result<Text> {
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const Value* given = arguments.Find(i, macro.parameters[i]);
      Value value = Undefined{macro.parameters[i]};
      if (given != nullptr) {
        value = *given;
      } else if (macro.defaults[i] != nullptr) {
        value = TRY(Evaluate(*macro.defaults[i]));
      }
      scopes_.back().insert_or_assign(macro.parameters[i], std::move(value));
    }
    return Capture(macro.body);
  }();
  scopes_.resize(bottom);
  for (Variables& variables : hidden) scopes_.push_back(std::move(variables));
  base_ = base;
  if (!text) return std::unexpected(text.error());
  return Value(std::move(*text));
}

}  // namespace exo::model::jinja
