#include "chat/values.h"

#include <array>

#include "chat/json_scanner.h"
#include "chat/literal.h"
#include "chat/schema_view.h"

namespace exo::chat {
namespace {

using Json = OrderedJson;

constexpr size_t kMaxNesting = 32;

// One value and white space, not nested too deeply.
bool IsJson(std::string_view text) {
  text = Trimmed(text);
  JsonScanner scanner;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto step = scanner.Push(text[i]);
    if (step != JsonScanner::Step::kMore)
      return step == JsonScanner::Step::kDone && i + 1 == text.size();
  }
  return scanner.Push(' ') == JsonScanner::Step::kBefore;  // a number
}

// Recursive descent; `short_` tells that the text ended too early.
class Reader {
 public:
  Reader(std::string_view text, const CallSyntax& syntax) : text_(text), syntax_(syntax) {}

  Values Run() {
    Values values;
    Json json = Json::object();
    const bool done = Take(syntax_.values_open) && Members(json, syntax_.values_close, 0);
    values.kind = done ? Values::Kind::kDone : short_ ? Values::Kind::kMore : Values::Kind::kBad;
    values.size = at_;
    if (done) values.json = Dump(json);
    return values;
  }

 private:
  std::string_view Left() const { return text_.substr(at_); }
  void Space() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Take(std::string_view what) {
    Space();
    if (Left().starts_with(what)) {
      at_ += what.size();
      return true;
    }
    if (what.starts_with(Left())) short_ = true;
    return false;
  }

  bool Members(Json& json, std::string_view close, size_t depth) {
    if (depth > kMaxNesting) return false;
    if (Take(close)) return true;
    for (;;) {
      std::string key;
      if (!Key(key)) return false;
      if (!Take("=") && !Take(":")) return false;
      Json value;
      if (!Value(value, depth)) return false;
      json[key] = std::move(value);
      if (Take(close)) return true;
      if (!Take(",")) return false;
    }
  }
  bool Key(std::string& key) {
    Space();
    if (String(key)) return true;
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
    if (at_ == text_.size()) short_ = true;
    key = text_.substr(begin, at_ - begin);
    return !key.empty() && !short_;
  }
  bool String(std::string& value) {
    for (const std::string_view quote :
         {std::string_view(syntax_.string_quote), std::string_view("\""), std::string_view("'")}) {
      if (!quote.empty() && quote.starts_with(Left())) short_ = Left().size() < quote.size();
      if (quote.empty() || !Left().starts_with(quote)) continue;
      const size_t begin = at_;
      at_ += quote.size();
      for (; at_ < text_.size(); ++at_) {
        if (Left().starts_with(quote)) {
          at_ += quote.size();
          // As JSON where it is some, for its escapes.
          const Json whole = Json::parse(text_.substr(begin, at_ - begin), nullptr, false);
          if (whole.is_string()) value = whole.get<std::string>();
          return true;
        }
        // Only quotes of one character are escaped.
        if (text_[at_] == '\\' && quote.size() == 1 && at_ + 1 < text_.size()) {
          ++at_;
          value += Escaped(text_[at_]);
        } else {
          value += text_[at_];
        }
      }
      short_ = true;
      return false;
    }
    return false;
  }
  static char Escaped(char c) { return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c; }

  bool Value(Json& value, size_t depth) {
    Space();
    if (at_ == text_.size()) short_ = true;
    if (short_ || depth > kMaxNesting) return false;
    std::string text;
    if (String(text)) {
      value = std::move(text);
      return true;
    }
    if (short_) return false;
    if (Take("[")) return List(value, depth + 1);
    if (Take("{")) {
      value = Json::object();
      return Members(value, "}", depth + 1);
    }
    return Word(value);
  }
  bool List(Json& value, size_t depth) {
    value = Json::array();
    if (Take("]")) return true;
    for (;;) {
      Json item;
      if (!Value(item, depth)) return false;
      value.push_back(std::move(item));
      if (Take("]")) return true;
      if (!Take(",")) return false;
    }
  }
  // A number or a word for a truth value or nothing.
  bool Word(Json& value) {
    const size_t begin = at_;
    while (at_ < text_.size() && (IsNameChar(text_[at_]) || text_[at_] == '+')) ++at_;
    if (at_ == text_.size()) short_ = true;
    if (short_) return false;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (word == "true" || word == "True" || word == "false" || word == "False") {
      value = word.front() == 't' || word.front() == 'T';
      return true;
    }
    if (word == "null" || word == "None") return true;
    value = Json::parse(word, nullptr, false);
    return value.is_number();
  }

  const std::string_view text_;
  const CallSyntax& syntax_;
  size_t at_ = 0;
  bool short_ = false;
};

}  // namespace

std::string Quoted(std::string_view text) {
  return Dump(Json(std::string(text)));
}

std::string ValueJson(std::string_view type, std::string_view text) {
  if (type == "string") return Quoted(text);
  const Json value =
      IsJson(text) ? Json::parse(text, nullptr, false) : Json(Json::value_t::discarded);
  if (!value.is_discarded() && !(type.empty() && value.is_string())) return Dump(value);
  const std::string_view word = Trimmed(text);
  if (type == "boolean" && (word == "True" || word == "False"))
    return word == "True" ? "true" : "false";
  if (word == "None" && !type.empty()) return "null";
  return Quoted(text);
}

Values ReadValues(std::string_view text, const CallSyntax& syntax) {
  return Reader(text, syntax).Run();
}

}  // namespace exo::chat
