#include "model/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/utf8.h"

namespace exo::model::jinja {

namespace {

// Far above every budget, far below overflow.
constexpr uint64_t kMaxWeight = uint64_t{1} << 40;

}  // namespace

Value::Value(List list) {
  list.weight = 2;
  for (const Value& item : list.items)
    list.weight = std::min(kMaxWeight, list.weight + item.Weight() + 2);
  data_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) {
  dict.weight = 2;
  for (const auto& [key, value] : dict.entries) {
    dict.weight = std::min(kMaxWeight, dict.weight + key.Weight() + value.Weight() + 4);
  }
  data_ = std::make_shared<const Dict>(std::move(dict));
}

uint64_t Value::Weight() const {
  if (text() != nullptr) return text()->size() + 2;
  if (list() != nullptr) return list()->weight;
  if (dict() != nullptr) return dict()->weight;
  return 24;
}

bool Value::Integer(int64_t& out) const {
  if (const auto* i = As<int64_t>()) {
    out = *i;
    return true;
  }
  if (const auto* b = As<bool>()) {
    out = *b ? 1 : 0;
    return true;
  }
  return false;
}

double Value::Float() const {
  if (const auto* f = As<double>()) return *f;
  int64_t i = 0;
  Integer(i);
  return static_cast<double>(i);
}

bool Value::Truthy() const {
  if (undefined() || none()) return false;
  if (number()) return Float() != 0;
  if (text() != nullptr) return !text()->bytes.empty();
  if (list() != nullptr) return !list()->items.empty();
  if (dict() != nullptr) return !dict()->entries.empty();
  return true;
}

std::string Value::TypeName() const {
  if (list() != nullptr && list()->tuple) return "tuple";
  static constexpr const char* kNames[] = {"Undefined", "NoneType",    "bool",    "int",
                                           "float",     "str",         "list",    "dict",
                                           "Namespace", "LoopContext", "function"};
  const size_t index = undefined()     ? 0
                       : none()        ? 1
                       : As<bool>()    ? 2
                       : As<int64_t>() ? 3
                       : As<double>()  ? 4
                       : text()        ? 5
                       : list()        ? 6
                       : dict()        ? 7
                       : space()       ? 8
                       : loop()        ? 9
                                       : 10;
  return kNames[index];
}

const Value* FindEntry(const DictEntries& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (name.text() != nullptr && name.text()->bytes == key) return &value;
  }
  return nullptr;
}

namespace {

bool EqualLists(const List& a, const List& b, int depth) {
  return a.tuple == b.tuple &&
         std::ranges::equal(a.items, b.items,
                            [&](const Value& x, const Value& y) { return Equal(x, y, depth + 1); });
}

bool EqualDicts(const Dict& a, const Dict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::ranges::all_of(a.entries, [&](const auto& entry) {
    return std::ranges::any_of(b.entries, [&](const auto& other) {
      return Equal(entry.first, other.first, depth + 1) &&
             Equal(entry.second, other.second, depth + 1);
    });
  });
}

}  // namespace

bool Equal(const Value& a, const Value& b, int depth) {
  if (depth > kMaxValueDepth) return false;
  if (a.number() && b.number()) return a.Float() == b.Float();
  if (a.text() && b.text()) return a.text()->bytes == b.text()->bytes;
  if (a.list() && b.list()) return a.list() == b.list() || EqualLists(*a.list(), *b.list(), depth);
  if (a.dict() && b.dict()) return a.dict() == b.dict() || EqualDicts(*a.dict(), *b.dict(), depth);
  if (a.undefined() || b.undefined()) return a.undefined() && b.undefined();
  if (a.none() || b.none()) return a.none() && b.none();
  if (a.space() || b.space()) return a.space() == b.space();
  return a.callable() != nullptr && a.callable() == b.callable();
}

Result<int> Compare(const Value& a, const Value& b) {
  if (a.number() && b.number()) {
    const double x = a.Float();
    const double y = b.Float();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.text() && b.text()) {
    const int order = a.text()->bytes.compare(b.text()->bytes);
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.list() && b.list()) {
    const auto& x = a.list()->items;
    const auto& y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (x[i].list() != nullptr || y[i].list() != nullptr) {
        return Fail(ErrorCode::kUnsupported, "an order of nested lists");
      }
      const int order = TRY(Compare(x[i], y[i]));
      if (order != 0) return order;
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  return Fail(ErrorCode::kInvalid, "'{}' and '{}' have no order", a.TypeName(), b.TypeName());
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

namespace {

void AddEscapedByte(Text& out, uint8_t byte, char mark) {
  for (const char c : fmt::format("\\x{:02x}", byte)) out.AddByte(c, mark);
}

Text ReprText(const Text& text) {
  const bool single =
      text.bytes.find('\'') == std::string::npos || text.bytes.find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  Text out;
  out.AddByte(quote, '\1');
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes[i];
    const char mark = text.marks[i];
    const char* found = c == 0 ? nullptr : std::strchr("\n\r\t\\", c);
    if (found != nullptr || c == quote) {
      out.AddByte('\\', mark);
      out.AddByte(c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c, mark);
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
      AddEscapedByte(out, static_cast<uint8_t>(c), mark);
    } else {
      out.AddByte(c, mark);
    }
  }
  out.AddByte(quote, '\1');
  return out;
}

Text ReprEntries(const DictEntries& entries, int depth) {
  Text out;
  out.Add("{");
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i != 0) out.Add(", ");
    out.Add(Repr(entries[i].first, depth + 1)).Add(": ").Add(Repr(entries[i].second, depth + 1));
  }
  return out.Add("}");
}

Text ReprList(const List& list, int depth) {
  Text out;
  out.Add(list.tuple ? "(" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i != 0) out.Add(", ");
    out.Add(Repr(list.items[i], depth + 1));
  }
  if (list.tuple && list.items.size() == 1) out.Add(",");
  return out.Add(list.tuple ? ")" : "]");
}

}  // namespace

Text Repr(const Value& value, int depth) {
  if (depth > kMaxValueDepth) return Text::Of("...", true);
  if (value.text() != nullptr) return ReprText(*value.text());
  if (value.list() != nullptr) return ReprList(*value.list(), depth);
  if (value.dict() != nullptr) return ReprEntries(value.dict()->entries, depth);
  if (value.space() != nullptr) return Text::Of("<Namespace>", true);  // it may hold itself
  if (value.undefined()) return Text::Of("Undefined", true);
  return ToText(value);
}

Text ToText(const Value& value) {
  if (value.text() != nullptr) return *value.text();
  if (value.undefined()) return {};
  if (value.none()) return Text::Of("None", true);
  if (const auto* b = value.As<bool>()) return Text::Of(*b ? "True" : "False", true);
  if (const auto* i = value.As<int64_t>()) return Text::Of(std::to_string(*i), true);
  if (const auto* f = value.As<double>()) return Text::Of(FloatText(*f), true);
  if (value.loop() != nullptr) return Text::Of("<LoopContext>", true);
  if (value.callable() != nullptr)
    return Text::Of(fmt::format("<function {}>", value.callable()->name), true);
  return Repr(value);
}

}  // namespace exo::model::jinja
