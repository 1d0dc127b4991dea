// Python's json.dumps over template values, keeping the marks of the strings.
#include <algorithm>
#include <cmath>

#include "model/jinja/value.h"
#include "model/utf8.h"

namespace exo::model::jinja {
namespace {

class Writer {
 public:
  explicit Writer(const JsonOptions& options) : options_(options) {}

  Result<void> Write(const Value& value, int depth) {
    if (depth > kMaxValueDepth)
      return Fail(ErrorCode::kOverloaded, "tojson of values nested deeper than {}", kMaxValueDepth);
    if (value.text() != nullptr) {
      WriteString(*value.text());
    } else if (value.list() != nullptr) {
      return WriteList(*value.list(), depth);
    } else if (value.dict() != nullptr) {
      return WriteEntries(value.dict()->entries, depth);
    } else if (value.none()) {
      out_.Add("null");
    } else if (const auto* b = value.As<bool>()) {
      out_.Add(*b ? "true" : "false");
    } else if (const auto* f = value.As<double>()) {
      out_.Add(std::isnan(*f)   ? "NaN"
               : std::isinf(*f) ? (*f < 0 ? "-Infinity" : "Infinity")
                                : FloatText(*f));
    } else if (value.As<int64_t>() != nullptr) {
      out_.Add(ToText(value));
    } else {
      return Fail(ErrorCode::kInvalid, "an object of type {} has no JSON form", value.TypeName());
    }
    return {};
  }

  Text Take() { return std::move(out_); }

 private:
  void WriteString(const Text& text) {
    out_.Add("\"");
    for (size_t at = 0; at < text.size();) {
      const size_t length = Utf8Length(text.bytes, at);
      if (length > 1 && options_.ensure_ascii) {
        WriteUnicode(Utf8Decode(text.bytes, at, length), text.marks[at]);
      } else {
        for (size_t i = 0; i < std::max<size_t>(1, length); ++i)
          WriteByte(text.bytes[at + i], text.marks[at + i]);
      }
      at += std::max<size_t>(1, length);
    }
    out_.Add("\"");
  }

  void WriteByte(char c, char mark) {
    static constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
    static constexpr std::string_view kTo = "\"\\nrtbf";
    if (const size_t found = kFrom.find(c); found != std::string_view::npos) {
      out_.AddByte('\\', mark);
      out_.AddByte(kTo[found], mark);
    } else if (static_cast<uint8_t>(c) < 0x20) {
      WriteUnicode(static_cast<uint8_t>(c), mark);
    } else {
      out_.AddByte(c, mark);
    }
  }

  void WriteUnicode(char32_t code, char mark) {
    if (code >= 0x10000) {
      WriteUnicode(0xd800 + ((code - 0x10000) >> 10), mark);
      code = 0xdc00 + ((code - 0x10000) & 0x3ff);
    }
    for (const char c : fmt::format("\\u{:04x}", static_cast<uint32_t>(code)))
      out_.AddByte(c, mark);
  }

  void NewLine(int depth) {
    if (options_.indent < 0) return;
    out_.Add("\n").Add(
        std::string(static_cast<size_t>(options_.indent) * static_cast<size_t>(depth), ' '));
  }

  // With an indent the separator stands at the end of a line.
  std::string_view Separator() const {
    std::string_view separator = options_.item_separator;
    if (options_.indent >= 0 && separator == ", ") separator.remove_suffix(1);
    return separator;
  }

  Result<void> WriteList(const List& list, int depth) {
    if (list.items.empty()) {
      out_.Add("[]");
      return {};
    }
    out_.Add("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) out_.Add(Separator());
      NewLine(depth + 1);
      TRY(Write(list.items[i], depth + 1));
    }
    NewLine(depth);
    out_.Add("]");
    return {};
  }

  Result<void> WriteEntries(const DictEntries& entries, int depth) {
    if (entries.empty()) {
      out_.Add("{}");
      return {};
    }
    std::vector<std::pair<Text, const Value*>> order;
    for (const auto& [key, value] : entries) {
      Text name = key.none() ? Text::Of("null", true) : ToText(key);
      if (const auto* b = key.As<bool>()) name = Text::Of(*b ? "true" : "false", true);
      order.emplace_back(std::move(name), &value);
    }
    if (options_.sort_keys) {
      std::ranges::sort(order, {},
                        [](const auto& entry) -> const std::string& { return entry.first.bytes; });
    }
    out_.Add("{");
    for (size_t i = 0; i < order.size(); ++i) {
      if (i != 0) out_.Add(Separator());
      NewLine(depth + 1);
      WriteString(order[i].first);
      out_.Add(options_.key_separator);
      TRY(Write(*order[i].second, depth + 1));
    }
    NewLine(depth);
    out_.Add("}");
    return {};
  }

  const JsonOptions& options_;
  Text out_;
};

}  // namespace

Result<Text> ToJson(const Value& value, const JsonOptions& options) {
  Writer writer(options);
  TRY(writer.Write(value, 0));
  return writer.Take();
}

}  // namespace exo::model::jinja
