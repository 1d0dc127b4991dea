#include "model/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "model/utf8.h"

namespace exo::model::jinja {
namespace {

bool IsSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool IsName(char c) {
  return IsNameStart(c) || IsDigit(c);
}

// One \r\n or \r is one \n, as Jinja reads its sources; one newline at the very end is dropped.
std::string Normalize(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      const size_t tag = FindTag(at_);
      TakeData(tag);
      if (at_ < source_.size()) TRY(TakeTag());
    }
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return source_.substr(at_); }
  void Push(TokenKind kind, std::string_view text) {
    tokens_.push_back({kind, std::string(text), line_});
  }
  void Advance(size_t count) {
    line_ += static_cast<int>(std::ranges::count(source_.substr(at_, count), '\n'));
    at_ += count;
  }

  size_t FindTag(size_t from) const {
    for (size_t i = source_.find('{', from); i != std::string_view::npos;
         i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    }
    return source_.size();
  }

  // The text up to the tag at `end`, less the white space that the tag asks to drop.
  void TakeData(size_t end) {
    std::string_view data = source_.substr(at_, end - at_);
    if (end < source_.size()) {
      const char sign = end + 2 < source_.size() ? source_[end + 2] : ' ';
      if (sign == '-') {
        while (!data.empty() && IsSpace(data.back())) data.remove_suffix(1);
      } else if (sign != '+' && source_[end + 1] != '{') {
        data = StripLineStart(data);
      }
    }
    if (!data.empty()) Push(TokenKind::kData, data);
    Advance(end - at_);
  }

  // lstrip_blocks: spaces between the start of the line and a block tag.
  std::string_view StripLineStart(std::string_view data) const {
    const size_t newline = data.rfind('\n');
    if (newline == std::string_view::npos && !line_starting_) return data;
    const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    return std::ranges::all_of(data.substr(start), IsSpace) ? data.substr(0, start) : data;
  }

  Result<void> TakeTag() {
    const char kind = source_[at_ + 1];
    if (kind == '#') return TakeComment();
    if (kind == '%' && IsRaw(at_, "raw")) return TakeRaw();
    const int line = line_;
    Push(kind == '{' ? TokenKind::kPrintBegin : TokenKind::kTagBegin, "");
    Advance(2);
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) Advance(1);
    return TakeInside(kind, line);
  }

  // After a tag: "-" drops all white space; a block or comment drops one newline unless "+" is
  // there.
  void AfterTag(char sign, bool block) {
    const size_t before = at_;
    if (sign == '-') {
      while (at_ < source_.size() && IsSpace(source_[at_])) Advance(1);
    } else if (block && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      Advance(1);
    }
    line_starting_ = at_ > before && source_[at_ - 1] == '\n';
  }

  Result<void> TakeComment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string_view::npos)
      return Fail(ErrorCode::kInvalid, "line {}: a comment without end", line_);
    const char sign = end > at_ + 2 ? source_[end - 1] : ' ';
    Advance(end + 2 - at_);
    AfterTag(sign, true);
    return {};
  }

  // Whether a tag {% word %} stands at `at`.
  bool IsRaw(size_t at, std::string_view word, size_t* end = nullptr, char* sign = nullptr) const {
    size_t i = at + 2;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
    while (i < source_.size() && IsSpace(source_[i])) ++i;
    if (!source_.substr(i).starts_with(word)) return false;
    i += word.size();
    while (i < source_.size() && IsSpace(source_[i])) ++i;
    const char mark = i < source_.size() ? source_[i] : ' ';
    if (mark == '-' || mark == '+') ++i;
    if (!source_.substr(i).starts_with("%}")) return false;
    if (end != nullptr) *end = i + 2;
    if (sign != nullptr) *sign = mark;
    return true;
  }

  Result<void> TakeRaw() {
    size_t begin = 0;
    char sign = ' ';
    IsRaw(at_, "raw", &begin, &sign);
    Advance(begin - at_);
    AfterTag(sign, true);
    for (size_t i = source_.find("{%", at_); i != std::string_view::npos;
         i = source_.find("{%", i + 2)) {
      size_t end = 0;
      if (!IsRaw(i, "endraw", &end, &sign)) continue;
      TakeData(i);
      Advance(end - at_);
      AfterTag(sign, true);
      return {};
    }
    return Fail(ErrorCode::kInvalid, "line {}: {{% raw %}} without {{% endraw %}}", line_);
  }

  Result<void> TakeInside(char kind, int begin_line) {
    const std::string_view close = kind == '{' ? "}}" : "%}";
    int braces = 0;  // "}}" inside a dict literal ends no tag
    while (at_ < source_.size()) {
      const char c = source_[at_];
      const std::string_view rest = Rest();
      if (IsSpace(c)) {
        Advance(1);
        continue;
      }
      const bool signed_close = (c == '-' || c == '+') && rest.substr(1).starts_with(close);
      if (braces == 0 && (rest.starts_with(close) || signed_close)) {
        Push(kind == '{' ? TokenKind::kPrintEnd : TokenKind::kTagEnd, "");
        Advance(signed_close ? 3 : 2);
        AfterTag(signed_close ? c : ' ', kind == '%');
        return {};
      }
      if (c == '{') ++braces;
      if (c == '}' && braces > 0) --braces;
      TRY(TakeToken());
    }
    return Fail(ErrorCode::kInvalid, "line {}: a tag without end", begin_line);
  }

  Result<void> TakeToken() {
    const char c = source_[at_];
    if (IsNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && IsName(source_[end])) ++end;
      Push(TokenKind::kName, source_.substr(at_, end - at_));
      Advance(end - at_);
      return {};
    }
    if (IsDigit(c)) return TakeNumber();
    if (c == '"' || c == '\'') return TakeString();
    static constexpr std::array<std::string_view, 29> kOperators = {
        "==", "!=", "<=", ">=", "//", "**", "<", ">", "+", "-", "*", "/", "%", "~", "|",
        "(",  ")",  "[",  "]",  "{",  "}",  ".", ",", ":", "=", ";", "!", "&", "@"};
    for (const std::string_view text : kOperators) {
      if (!Rest().starts_with(text)) continue;
      Push(TokenKind::kOperator, text);
      Advance(text.size());
      return {};
    }
    return Fail(ErrorCode::kInvalid, "line {}: an unexpected character '{}'", line_, c);
  }

  Result<void> TakeNumber() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (IsDigit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool fraction = false;
    // "l.0.x" and "1..": a point counts only in front of a digit, and not behind another point.
    const bool index = at_ > 0 && source_[at_ - 1] == '.';
    if (!index && end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      fraction = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
        ++exponent;
      if (exponent < source_.size() && IsDigit(source_[exponent])) {
        fraction = true;
        end = exponent;
        digits();
      }
    }
    std::string text(source_.substr(at_, end - at_));
    std::erase(text, '_');
    Push(fraction ? TokenKind::kFloat : TokenKind::kInteger, text);
    Advance(end - at_);
    return {};
  }

  Result<void> TakeString() {
    const char quote = source_[at_];
    const int line = line_;
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size())
      return Fail(ErrorCode::kInvalid, "line {}: a string without end", line);
    Push(TokenKind::kString, Unescape(source_.substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1 - at_);
    return {};
  }

  // Python's escapes; an unknown one stays as it is written.
  static std::string Unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      static constexpr std::string_view kFrom = "ntr\\'\"abfv0\n";
      static constexpr std::string_view kTo{"\n\t\r\\'\"\a\b\f\v\0", 11};
      const char c = text[++i];
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (digits != 0 && i + digits < text.size() + 0 &&
          IsHex(text.substr(i + 1, digits), digits)) {
        const auto code =
            static_cast<char32_t>(std::stoul(std::string(text.substr(i + 1, digits)), nullptr, 16));
        Utf8Append(code > 0x10ffff ? 0xfffd : code, out);
        i += digits;
      } else if (const size_t found = kFrom.find(c); found < kTo.size()) {
        out += kTo[found];
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }
  static bool IsHex(std::string_view text, size_t digits) {
    return text.size() == digits &&
           text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
  }

  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  const std::string text = Normalize(source);
  return Lexer(text).Run();
}

}  // namespace exo::model::jinja
