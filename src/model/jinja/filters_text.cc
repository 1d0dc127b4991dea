// Filters over text.
#include <algorithm>
#include <array>

#include "model/jinja/filters.h"
#include "model/jinja/strings.h"
#include "model/utf8.h"

namespace exo::model::jinja {
namespace {

constexpr int64_t kMaxPadding = 10000;

// Text filters take anything that can be printed.
Result<Text> Printed(Interpreter& run, const Value& value) {
  if (value.text() != nullptr) return *value.text();
  return run.Print(value);
}

Result<Value> Trim(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Value* chars = arguments.Find(0, "chars");
  const Text text = TRY(Printed(run, value));
  if (chars == nullptr || chars->none()) return Value(Strip(text, Side::kBoth, nullptr));
  const Text set = TRY(TextArgumentOr(arguments, 0, "chars", ""));
  return Value(Strip(text, Side::kBoth, &set.bytes));
}

template <Case to>
Result<Value> CaseFilter(Interpreter& run, const Value& value, const Arguments&) {
  return Value(ChangeCase(TRY(Printed(run, value)), to));
}

// Jinja's title keeps an apostrophe inside a word, unlike str.title.
Result<Value> Title(Interpreter& run, const Value& value, const Arguments&) {
  const Text text = TRY(Printed(run, value));
  Text out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    const auto separates = [&](size_t i) {
      return SpaceLength(text.bytes, i) != 0 || std::string_view("-({[<").contains(text.bytes[i]);
    };
    while (end < text.size() && !separates(end)) ++end;
    if (end < text.size()) end += std::max<size_t>(1, SpaceLength(text.bytes, end));
    out.Add(ChangeCase(text.Sub(at, end), Case::kCapital));
    at = end;
  }
  return Value(std::move(out));
}

Result<Value> ReplaceFilter(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Text text = TRY(Printed(run, value));
  const Text from = TRY(TextArgumentOr(arguments, 0, "old", ""));
  const Text to = TRY(TextArgumentOr(arguments, 1, "new", ""));
  const int64_t most = TRY(IntegerOr(arguments.Find(2, "count"), -1));
  const uint64_t limit = most < 0 ? ~uint64_t{0} : static_cast<uint64_t>(most);
  // Counting may stop where the result is over every budget.
  const uint64_t enough = kMaxTemplateWork / std::max<uint64_t>(1, to.size()) + 1;
  const uint64_t count = CountOccurrences(text.bytes, from.bytes, std::min(limit, enough));
  TRY(run.ChargeBytes(text.size() + count * to.size()));
  return Value(Replace(text, from.bytes, to, most));
}

Result<Value> Indent(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Text text = TRY(Printed(run, value));
  const Value* width = arguments.Find(0, "width");
  Text margin;
  if (width != nullptr && width->text() != nullptr) {
    margin = *width->text();
  } else {
    const int64_t spaces = TRY(IntegerOr(width, 4));
    if (spaces > kMaxPadding) return Fail(ErrorCode::kInvalid, "an indent of {}", spaces);
    margin.Add(std::string(static_cast<size_t>(std::max<int64_t>(0, spaces)), ' '));
  }
  const bool first = BoolArgument(arguments, 1, "first", false);
  const bool blank = BoolArgument(arguments, 2, "blank", false);
  const std::vector<Value> lines = SplitLines(Text(text).Add("\n"), false);
  TRY(run.ChargeBytes(text.size() + lines.size() * (margin.size() + 1)));
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Text& line = *lines[i].text();
    if (i != 0) out.Add("\n");
    if ((i != 0 || first) && (blank || line.size() != 0 || (i == 0 && first))) out.Add(margin);
    out.Add(line);
  }
  return Value(std::move(out));
}

Result<Value> Truncate(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Text text = TRY(Printed(run, value));
  const int64_t length = TRY(IntegerOr(arguments.Find(0, "length"), 255));
  const bool kill = BoolArgument(arguments, 1, "killwords", false);
  const Text end = TRY(TextArgumentOr(arguments, 2, "end", "..."));
  const int64_t leeway = TRY(IntegerOr(arguments.Find(3, "leeway"), 5));
  const std::vector<size_t> starts = CharStarts(text.bytes);
  const auto count = static_cast<int64_t>(starts.size()) - 1;
  const auto tail = static_cast<int64_t>(CharCount(end.bytes));
  if (length < tail || leeway < 0 || leeway > kMaxPadding)
    return Fail(ErrorCode::kInvalid, "truncate to {}", length);
  if (count - leeway <= length) return Value(text);
  Text kept = text.Sub(0, starts[static_cast<size_t>(length - tail)]);
  const size_t space = kept.bytes.rfind(' ');
  if (!kill && space != std::string::npos) kept = kept.Sub(0, space);
  return Value(std::move(kept.Add(end)));
}

Result<Value> Center(Interpreter& run, const Value& value, const Arguments& arguments) {
  const Text text = TRY(Printed(run, value));
  const int64_t width = TRY(IntegerOr(arguments.Find(0, "width"), 80));
  if (width > kMaxPadding) return Fail(ErrorCode::kInvalid, "a width of {}", width);
  const auto count = static_cast<int64_t>(CharCount(text.bytes));
  if (count >= width) return Value(text);
  const int64_t padding = width - count;
  const int64_t left = padding / 2 + (padding & width & 1);
  Text out;
  out.Add(std::string(static_cast<size_t>(left), ' ')).Add(text);
  return Value(std::move(out.Add(std::string(static_cast<size_t>(padding - left), ' '))));
}

Result<Value> WordCount(Interpreter& run, const Value& value, const Arguments&) {
  return Value(static_cast<int64_t>(SplitText(TRY(Printed(run, value)), "", -1, false).size()));
}

// Each byte as itself or as what `code` returns.
template <class Code>
Text Encode(const Text& text, const Code& code) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string changed = code(text.bytes[i]);
    for (const char c : changed) out.AddByte(c, text.marks[i]);
  }
  return out;
}

Result<Value> Escape(Interpreter& run, const Value& value, const Arguments&) {
  return Value(Encode(TRY(Printed(run, value)), [](char c) -> std::string {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '"':
        return "&#34;";
      case '\'':
        return "&#39;";
      default:
        return std::string(1, c);
    }
  }));
}

Result<Value> UrlEncode(Interpreter& run, const Value& value, const Arguments&) {
  return Value(Encode(TRY(Printed(run, value)), [](char c) -> std::string {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~/").contains(c);
    return plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<uint8_t>(c));
  }));
}

// Tags go, runs of white space become one space.
Result<Value> StripTags(Interpreter& run, const Value& value, const Arguments&) {
  const Text text = TRY(Printed(run, value));
  Text plain;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!inside && text.bytes[i] == '<' && text.bytes.find('>', i) != std::string::npos)
      inside = true;
    if (!inside) plain.AddByte(text.bytes[i], text.marks[i]);
    if (text.bytes[i] == '>') inside = false;
  }
  Text out;
  for (const Value& word : SplitText(plain, "", -1, false)) {
    if (out.size() != 0) out.Add(" ");
    out.Add(*word.text());
  }
  return Value(std::move(out));
}

Result<Value> Format(Interpreter& run, const Value& value, const Arguments& arguments) {
  return FormatText(run, TRY(Printed(run, value)), arguments.values);
}

constexpr std::array<FilterEntry, 16> kTextFilters = {{
    {"trim", Trim},
    {"upper", CaseFilter<Case::kUpper>},
    {"lower", CaseFilter<Case::kLower>},
    {"capitalize", CaseFilter<Case::kCapital>},
    {"title", Title},
    {"replace", ReplaceFilter},
    {"indent", Indent},
    {"truncate", Truncate},
    {"center", Center},
    {"wordcount", WordCount},
    {"escape", Escape},
    {"e", Escape},
    {"forceescape", Escape},
    {"urlencode", UrlEncode},
    {"striptags", StripTags},
    {"format", Format},
}};

}  // namespace

std::span<const FilterEntry> TextFilters() {
  return kTextFilters;
}

}  // namespace exo::model::jinja
