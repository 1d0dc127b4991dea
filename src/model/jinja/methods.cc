// Methods of strings, dicts, lists and loops. What would change a value (append, update, pop) is
// refused, as in Jinja's immutable sandbox.
#include <algorithm>
#include <array>
#include <span>

#include "model/jinja/interpreter.h"
#include "model/jinja/strings.h"

namespace exo::model::jinja {
namespace {

using Method = Result<Value> (*)(Interpreter&, const Value&, const Arguments&);
struct Entry {
  std::string_view name;
  Method method;
};

Result<const Text*> TextArgument(const Arguments& arguments, size_t index, std::string_view name) {
  const Value* value = arguments.Find(index, name);
  if (value == nullptr) return Fail(ErrorCode::kInvalid, "the argument '{}' is missing", name);
  if (value->text() == nullptr) return TypeError("a string was expected instead", *value);
  return value->text();
}

template <Side side>
Result<Value> StripMethod(Interpreter&, const Value& self, const Arguments& arguments) {
  const Value* chars = arguments.Find(0, "chars");
  if (chars == nullptr || chars->none()) return Value(Strip(*self.text(), side, nullptr));
  return Value(Strip(*self.text(), side, &TRY(TextArgument(arguments, 0, "chars"))->bytes));
}

template <bool from_right>
Result<Value> SplitMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Value* separator = arguments.Find(0, "sep");
  std::string by;
  if (separator != nullptr && !separator->none()) {
    by = TRY(TextArgument(arguments, 0, "sep"))->bytes;
    if (by.empty()) return Fail(ErrorCode::kInvalid, "an empty separator");
  }
  const int64_t most = TRY(IntegerOr(arguments.Find(1, "maxsplit"), -1));
  TRY(run.Charge(by.empty() ? self.text()->size() / 2
                            : CountOccurrences(self.text()->bytes, by, ~uint64_t{0})));
  return Value(List{.items = SplitText(*self.text(), by, most, from_right)});
}

Result<Value> SplitLinesMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Value* keep = arguments.Find(0, "keepends");
  List list{.items = SplitLines(*self.text(), keep != nullptr && keep->Truthy())};
  TRY(run.Charge(list.items.size()));
  return Value(std::move(list));
}

// The argument of startswith and endswith: one string or a tuple of them.
template <bool front>
Result<Value> Affix(Interpreter&, const Value& self, const Arguments& arguments) {
  const Value* given = arguments.Find(0, "prefix");
  if (given == nullptr) return Fail(ErrorCode::kInvalid, "an argument is missing");
  const std::vector<Value> choices =
      given->list() != nullptr ? given->list()->items : std::vector<Value>{*given};
  for (const Value& choice : choices) {
    if (choice.text() == nullptr) return TypeError("a string was expected instead", choice);
    const std::string& part = choice.text()->bytes;
    if (front ? self.text()->bytes.starts_with(part) : self.text()->bytes.ends_with(part))
      return Value(true);
  }
  return Value(false);
}

template <Case to>
Result<Value> CaseMethod(Interpreter&, const Value& self, const Arguments&) {
  return Value(ChangeCase(*self.text(), to));
}

Result<Value> ReplaceMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  return run.ApplyFilter("replace", self, arguments);
}

template <bool must>
Result<Value> FindMethod(Interpreter&, const Value& self, const Arguments& arguments) {
  const size_t found = FindText(self.text()->bytes, TRY(TextArgument(arguments, 0, "sub"))->bytes);
  if (found != std::string::npos)
    return Value(static_cast<int64_t>(CharCount(self.text()->bytes.substr(0, found))));
  if (must) return Fail(ErrorCode::kInvalid, "substring not found");
  return Value(int64_t{-1});
}

Result<Value> RightFindMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  const std::string& part = TRY(TextArgument(arguments, 0, "sub"))->bytes;
  size_t last = std::string::npos;
  for (size_t at = 0; (at = FindText(self.text()->bytes, part, at)) != std::string::npos; ++at) {
    TRY(run.ChargeBytes(part.size() + 1));
    last = at;
  }
  if (last == std::string::npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(CharCount(self.text()->bytes.substr(0, last))));
}

Result<Value> CountMethod(Interpreter&, const Value& self, const Arguments& arguments) {
  const std::string& part = TRY(TextArgument(arguments, 0, "sub"))->bytes;
  return Value(static_cast<int64_t>(CountOccurrences(self.text()->bytes, part, ~uint64_t{0})));
}

Result<Value> JoinMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  if (arguments.values.size() != 1) return Fail(ErrorCode::kInvalid, "join takes one list");
  return run.ApplyFilter("join", arguments.values[0], {.values = {self}, .named = {}});
}

template <bool front>
Result<Value> RemoveAffix(Interpreter&, const Value& self, const Arguments& arguments) {
  const std::string& part = TRY(TextArgument(arguments, 0, "prefix"))->bytes;
  const Text& text = *self.text();
  if (front && text.bytes.starts_with(part)) return Value(text.Sub(part.size(), text.size()));
  if (!front && text.bytes.ends_with(part)) return Value(text.Sub(0, text.size() - part.size()));
  return self;
}

// All characters pass, and there is one.
template <bool (*Pass)(char32_t)>
Result<Value> AllMethod(Interpreter&, const Value& self, const Arguments&) {
  const std::string& bytes = self.text()->bytes;
  return Value(!bytes.empty() &&
               std::ranges::all_of(bytes, [](char c) { return Pass(static_cast<uint8_t>(c)); }));
}
bool IsDigit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool IsAlpha(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}
bool IsAlnum(char32_t c) {
  return IsDigit(c) || IsAlpha(c);
}
bool IsSpace(char32_t c) {
  return c == ' ' || (c >= 9 && c <= 13);
}

template <Case to>
Result<Value> IsCaseMethod(Interpreter&, const Value& self, const Arguments&) {
  const Text& text = *self.text();
  const Case other = to == Case::kUpper ? Case::kLower : Case::kUpper;
  return Value(ChangeCase(text, to).bytes == text.bytes &&
               ChangeCase(text, other).bytes != text.bytes);
}

constexpr std::array<Entry, 30> kTextMethods = {{
    {"strip", StripMethod<Side::kBoth>},
    {"lstrip", StripMethod<Side::kLeft>},
    {"rstrip", StripMethod<Side::kRight>},
    {"split", SplitMethod<false>},
    {"rsplit", SplitMethod<true>},
    {"splitlines", SplitLinesMethod},
    {"startswith", Affix<true>},
    {"endswith", Affix<false>},
    {"upper", CaseMethod<Case::kUpper>},
    {"lower", CaseMethod<Case::kLower>},
    {"casefold", CaseMethod<Case::kLower>},
    {"title", CaseMethod<Case::kTitle>},
    {"capitalize", CaseMethod<Case::kCapital>},
    {"replace", ReplaceMethod},
    {"find", FindMethod<false>},
    {"index", FindMethod<true>},
    {"rfind", RightFindMethod},
    {"count", CountMethod},
    {"join", JoinMethod},
    {"removeprefix", RemoveAffix<true>},
    {"removesuffix", RemoveAffix<false>},
    {"isdigit", AllMethod<IsDigit>},
    {"isdecimal", AllMethod<IsDigit>},
    {"isnumeric", AllMethod<IsDigit>},
    {"isalpha", AllMethod<IsAlpha>},
    {"isalnum", AllMethod<IsAlnum>},
    {"isspace", AllMethod<IsSpace>},
    {"isupper", IsCaseMethod<Case::kUpper>},
    {"islower", IsCaseMethod<Case::kLower>},
    {"zfill",
     [](Interpreter& run, const Value& self, const Arguments& arguments) -> Result<Value> {
       const int64_t width = TRY(IntegerOr(arguments.Find(0, "width"), 0));
       const auto size = static_cast<int64_t>(CharCount(self.text()->bytes));
       if (width <= size) return self;
       TRY(run.ChargeBytes(static_cast<uint64_t>(width)));
       Text zeros;
       zeros.Add(std::string(static_cast<size_t>(width - size), '0'));
       return Value(std::move(zeros.Add(*self.text())));
     }},
}};

Result<Value> GetMethod(Interpreter& run, const Value& self, const Arguments& arguments) {
  const Value* key = arguments.Find(0, "key");
  if (key == nullptr) return Fail(ErrorCode::kInvalid, "get takes a key");
  for (const auto& entry : self.dict()->entries) {
    if (TRY(run.Same(entry.first, *key))) return entry.second;
  }
  const Value* fallback = arguments.Find(1, "default");
  return fallback != nullptr ? *fallback : Value(None{});
}

template <bool keys, bool values>
Result<Value> EntriesMethod(Interpreter& run, const Value& self, const Arguments&) {
  TRY(run.Charge(self.dict()->entries.size()));
  List list;
  for (const auto& [key, value] : self.dict()->entries) {
    list.items.push_back(keys && values ? Value(List{.items = {key, value}, .tuple = true})
                         : keys         ? key
                                        : value);
  }
  return Value(std::move(list));
}

constexpr std::array<Entry, 5> kDictMethods = {{
    {"get", GetMethod},
    {"items", EntriesMethod<true, true>},
    {"keys", EntriesMethod<true, false>},
    {"values", EntriesMethod<false, true>},
    {"copy",
     [](Interpreter&, const Value& self, const Arguments&) -> Result<Value> { return self; }},
}};

Result<Value> ListIndex(Interpreter& run, const Value& self, const Arguments& arguments) {
  if (arguments.values.empty()) return Fail(ErrorCode::kInvalid, "index takes a value");
  for (size_t i = 0; i < self.list()->items.size(); ++i) {
    if (TRY(run.Same(self.list()->items[i], arguments.values[0])))
      return Value(static_cast<int64_t>(i));
  }
  return Fail(ErrorCode::kInvalid, "the value is not in the list");
}

Result<Value> ListCount(Interpreter& run, const Value& self, const Arguments& arguments) {
  if (arguments.values.empty()) return Fail(ErrorCode::kInvalid, "count takes a value");
  int64_t count = 0;
  for (const Value& item : self.list()->items)
    count += TRY(run.Same(item, arguments.values[0])) ? 1 : 0;
  return Value(count);
}

constexpr std::array<Entry, 2> kListMethods = {{{"index", ListIndex}, {"count", ListCount}}};

Result<Value> LoopCycle(Interpreter&, const Value& self, const Arguments& arguments) {
  if (arguments.values.empty()) return Fail(ErrorCode::kInvalid, "cycle takes values");
  return arguments.values[self.loop()->index % arguments.values.size()];
}

Result<Value> LoopChanged(Interpreter& run, const Value& self, const Arguments& arguments) {
  LoopState& loop = *self.loop();
  const Value now(List{.items = arguments.values, .tuple = true});
  if (loop.changed_before && TRY(run.Same(loop.last_changed, now))) return Value(false);
  loop.changed_before = true;
  loop.last_changed = now;
  return Value(true);
}

constexpr std::array<Entry, 2> kLoopMethods = {{{"cycle", LoopCycle}, {"changed", LoopChanged}}};

Value LoopAttribute(const LoopState& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.owned.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem" && index > 0) return loop.owned[loop.index - 1];
  if (name == "nextitem" && index + 1 < size) return loop.owned[loop.index + 1];
  return Undefined{"loop." + std::string(name)};
}

// What Python has and the sandbox forbids: an error that says so is better than "undefined".
constexpr std::array<std::string_view, 11> kForbidden = {
    "append", "extend",  "insert", "remove",     "pop",    "clear",
    "sort",   "reverse", "update", "setdefault", "popitem"};

std::span<const Entry> MethodsOf(const Value& value) {
  if (value.text() != nullptr) return kTextMethods;
  if (value.dict() != nullptr) return kDictMethods;
  if (value.list() != nullptr) return kListMethods;
  if (value.loop() != nullptr) return kLoopMethods;
  return {};
}

bool Forbidden(const Value& value, std::string_view name) {
  return (value.list() != nullptr ||
          (value.dict() != nullptr && FindEntry(value.dict()->entries, name) == nullptr)) &&
         std::ranges::find(kForbidden, name) != kForbidden.end();
}

}  // namespace

bool HasMethod(const Value& value, std::string_view name) {
  return std::ranges::find(MethodsOf(value), name, &Entry::name) != MethodsOf(value).end() ||
         Forbidden(value, name);
}

Result<Value> CallMethod(Interpreter& run, const Value& self, std::string_view name,
                         const Arguments& arguments) {
  const bool cheap = name == "startswith" || name == "endswith";
  if (self.text() != nullptr && !cheap) TRY(run.ChargeBytes(self.text()->size()));
  for (const Entry& entry : MethodsOf(self)) {
    if (entry.name == name) return entry.method(run, self, arguments);
  }
  if (self.loop() != nullptr) return LoopAttribute(*self.loop(), name);
  return Fail(ErrorCode::kInvalid, "the method '{}' would change a {}: templates may not", name,
              self.TypeName());
}

}  // namespace exo::model::jinja
