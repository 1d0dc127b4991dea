// Values of a running template. Strings carry a mark per byte: written by the template (trusted) or
// come from a message (not). Everything but a namespace is immutable and shared, so that copies
// cost nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace exo::model::jinja {

// Bytes with marks. marks.size() == bytes.size() always; 1 = trusted, 0 = not.
struct Text {
  std::string bytes;
  std::string marks;

  static Text Of(std::string_view text, bool trusted) {
    return {std::string(text), std::string(text.size(), trusted ? '\1' : '\0')};
  }
  size_t size() const { return bytes.size(); }
  Text Sub(size_t begin, size_t end) const {
    return {bytes.substr(begin, end - begin), marks.substr(begin, end - begin)};
  }
  Text& Add(const Text& other) {
    bytes += other.bytes;
    marks += other.marks;
    return *this;
  }
  // Bytes that the interpreter itself writes (quotes, digits, punctuation).
  Text& Add(std::string_view text) {
    bytes += text;
    marks.append(text.size(), '\1');
    return *this;
  }
  // One byte with the mark of another.
  void AddByte(char byte, char mark) {
    bytes += byte;
    marks += mark;
  }
};

class Value;
// `weight` (set when the value is made) bounds the cost of printing or comparing: lists may share
// parts, so that a few of them can stand for an exponential amount of text.
struct List {
  std::vector<Value> items;
  bool tuple = false;
  uint64_t weight = 0;
};
using DictEntries = std::vector<std::pair<Value, Value>>;
struct Dict {
  DictEntries entries;  // in insertion order, keys unique
  uint64_t weight = 0;
};
struct Undefined {
  std::string name;
};
struct None {};
struct Namespace;  // mutable; owned by the run
struct LoopState;
struct Callable;

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                            std::shared_ptr<Namespace>, std::shared_ptr<LoopState>,
                            std::shared_ptr<const Callable>>;
  Value() : data_(Undefined{}) {}
  Value(None) : data_(None{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(List list);
  Value(Dict dict);
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  Value(std::shared_ptr<LoopState> loop) : data_(std::move(loop)) {}
  Value(Callable callable);
  template <class T>
  Value(T*) = delete;  // no pointer becomes a bool
  static Value String(std::string_view text, bool trusted = true) {
    return Text::Of(text, trusted);
  }

  template <class T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  const Text* text() const { return Pointee<Text>(); }
  const List* list() const { return Pointee<List>(); }
  const Dict* dict() const { return Pointee<Dict>(); }
  const Callable* callable() const { return Pointee<const Callable, Callable>(); }
  Namespace* space() const {
    const auto* p = As<std::shared_ptr<Namespace>>();
    return p == nullptr ? nullptr : p->get();
  }
  LoopState* loop() const {
    const auto* p = As<std::shared_ptr<LoopState>>();
    return p == nullptr ? nullptr : p->get();
  }
  bool undefined() const { return As<Undefined>() != nullptr; }
  bool none() const { return As<None>() != nullptr; }
  bool number() const { return As<bool>() || As<int64_t>() || As<double>(); }
  // Booleans count as 0 and 1, as in Python.
  bool Integer(int64_t& out) const;
  double Float() const;  // of a number

  // Bytes that printing may take, saturating.
  uint64_t Weight() const;
  bool Truthy() const;
  // "str", "int", "NoneType", … as Python says it.
  std::string TypeName() const;

 private:
  template <class P, class T = P>
  const T* Pointee() const {
    const auto* p = As<std::shared_ptr<const T>>();
    return p == nullptr ? nullptr : p->get();
  }
  Data data_;
};

struct Namespace {
  DictEntries entries;
};

struct LoopState {
  std::vector<Value> owned;  // the items
  size_t index = 0;
  Value last_changed;
  bool changed_before = false;
};

struct MacroDef;
// A macro, a built-in function or a method bound to its object.
struct Callable {
  enum class Kind { kMacro, kCaller, kFunction, kMethod };
  Kind kind = Kind::kFunction;
  std::string name;
  const MacroDef* macro = nullptr;
  std::vector<Value> self;  // 0 or 1: the object of a method
  size_t scope_depth = 0;   // kCaller: how many scopes its body sees
  size_t scope_base = 0;
};

inline Value::Value(Callable callable)
    : data_(std::make_shared<const Callable>(std::move(callable))) {}

// How deep values may be nested where they are printed or compared.
inline constexpr int kMaxValueDepth = 64;

const Value* FindEntry(const DictEntries& entries, std::string_view key);
bool Equal(const Value& a, const Value& b, int depth = 0);
// -1, 0, 1. Errors: kInvalid for types that have no order.
Result<int> Compare(const Value& a, const Value& b);
// Python's str() and repr().
Text ToText(const Value& value);
Text Repr(const Value& value, int depth = 0);
// Python's repr of a float: the shortest digits that read back the same.
std::string FloatText(double value);

struct JsonOptions {
  int64_t indent = -1;  // -1: one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Python's json.dumps. Errors: kInvalid for what JSON cannot hold.
Result<Text> ToJson(const Value& value, const JsonOptions& options);

}  // namespace exo::model::jinja
