#include "chat/call_reader.h"

#include <algorithm>

#include "chat/literal.h"
#include "chat/values.h"

namespace exo::chat {
namespace {

constexpr size_t kMaxName = 256, kMaxId = 64;
constexpr size_t kMaxValues = 64u << 10;  // they are read again with each piece

// A value's text without the line breaks that the format puts around it.
std::string_view Inner(std::string_view value, std::string_view begin, std::string_view end) {
  if (!begin.empty() && begin.back() == '\n' && value.starts_with('\n')) value.remove_prefix(1);
  if (!end.empty() && end.front() == '\n' && value.ends_with('\n')) value.remove_suffix(1);
  return value;
}

}  // namespace

CallReader::CallReader(const CallSyntax& syntax, const ReaderOptions& options, PieceWriter& out)
    : syntax_(syntax),
      options_(options),
      out_(out),
      state_(syntax.object_begin.empty() ? State::kName : State::kObject),
      object_(syntax) {}

CallReader::Step CallReader::Read(std::string_view& text, bool last) {
  for (;;) {
    const State before = state_;
    const size_t left = text.size();
    Step step = Step::kMore;
    switch (state_) {
      case State::kObject:
        step = ReadObject(text);
        break;
      case State::kName:
        step = ReadName(text, last);
        break;
      case State::kIndex:
        step = ReadIndex(text, last);
        break;
      case State::kAfterName:
        step = ReadAfterName(text);
        break;
      case State::kId:
        step = ReadId(text);
        break;
      case State::kArguments:
        step = ReadArguments(text);
        break;
      case State::kParameters:
        step = ReadParameter(text);
        break;
      case State::kValue:
        step = ReadValue(text);
        break;
      case State::kValues:
        step = ReadValues(text);
        break;
    }
    if (step != Step::kMore || (state_ == before && text.size() == left)) return step;
  }
}

bool CallReader::Begin(const std::string& name, std::string id) {
  tool_ = FindTool(options_.tools, name);
  if (tool_ == nullptr) return false;
  out_.BeginCall(name, std::move(id));
  return true;
}

CallReader::Step CallReader::Take(std::string_view& text, std::string_view literal) {
  const Match match = MatchLiteral(text, literal);
  if (match.kind == Match::Kind::kNo) return Step::kBad;
  if (match.kind == Match::Kind::kPart) return Step::kMore;
  text.remove_prefix(match.size);
  return Step::kDone;
}

CallReader::Step CallReader::ReadObject(std::string_view& text) {
  for (;;) {
    switch (object_.Read(text)) {
      case ObjectReader::Step::kName:
        if (!Begin(object_.name(), "")) return Step::kBad;
        break;
      case ObjectReader::Step::kArguments:
        out_.Arguments(object_.Take());
        break;
      case ObjectReader::Step::kDone:
        if (!object_.has_name()) return Step::kBad;
        out_.Arguments(object_.Take() + (object_.has_arguments() ? "" : "{}"));
        return Step::kDone;
      case ObjectReader::Step::kBad:
        if (object_.has_name() && out_.begun()) out_.Arguments(object_.Take());
        return Step::kBad;
      default:
        return Step::kMore;
    }
  }
}

CallReader::Step CallReader::ReadName(std::string_view& text, bool last) {
  if (name_.empty()) text = text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  size_t size = 0;
  while (size < text.size() && IsNameChar(text[size])) ++size;
  if (size > kMaxName || (size == 0 && !text.empty())) return Step::kBad;
  if (size == text.size() && !last) return Step::kMore;
  name_ = text.substr(0, size);
  if (FindTool(options_.tools, name_) == nullptr) return Step::kBad;
  text.remove_prefix(size);
  state_ = syntax_.indexed ? State::kIndex : State::kAfterName;
  return Step::kMore;
}

// ":0"
CallReader::Step CallReader::ReadIndex(std::string_view& text, bool last) {
  size_t size = 0;
  while (size < text.size() && (text[size] == ':' || (text[size] >= '0' && text[size] <= '9')))
    ++size;
  if (size > kMaxId) return Step::kBad;
  if (size == text.size() && !last) return Step::kMore;
  index_ = text.substr(0, size);
  text.remove_prefix(size);
  state_ = State::kAfterName;
  return Step::kMore;
}

CallReader::Step CallReader::ReadAfterName(std::string_view& text) {
  if (syntax_.form == CallForm::kValues) {
    state_ = State::kValues;
    return Begin(name_, "") ? Step::kMore : Step::kBad;
  }
  const Step taken = Take(text, syntax_.after_name);
  if (taken != Step::kDone) return taken;
  if (!syntax_.after_id.empty()) {
    state_ = State::kId;
    return Step::kMore;
  }
  state_ = syntax_.form == CallForm::kParameters ? State::kParameters : State::kArguments;
  // The template shows the name as a part of the call's id.
  const std::string id = syntax_.indexed ? "functions." + name_ + index_ : "";
  return Begin(name_, id) ? Step::kMore : Step::kBad;
}

CallReader::Step CallReader::ReadId(std::string_view& text) {
  const size_t end = FindLiteral(text, syntax_.after_id);
  if (std::min(end, text.size()) > kMaxId) return Step::kBad;
  if (end == std::string_view::npos) return Step::kMore;
  std::string_view rest = text.substr(end);
  const Step taken = Take(rest, syntax_.after_id);
  if (taken != Step::kDone) return Step::kMore;
  const std::string id(Trimmed(text.substr(0, end)));
  text = rest;
  state_ = State::kArguments;
  return Begin(name_, id) ? Step::kMore : Step::kBad;
}

CallReader::Step CallReader::ReadArguments(std::string_view& text) {
  if (!arguments_) text = text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (text.empty()) return Step::kMore;
  if (!arguments_ && text.front() != '{') return Step::kBad;
  arguments_ = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto step = scanner_.Push(text[i]);
    if (step == JsonScanner::Step::kMore) continue;
    const bool done = step == JsonScanner::Step::kDone;
    out_.Arguments(text.substr(0, i + (done ? 1 : 0)));
    text.remove_prefix(i + (done ? 1 : 0));
    return done ? Step::kDone : Step::kBad;
  }
  out_.Arguments(text);
  text = {};
  return Step::kMore;
}

// The next parameter up to its value, or the end of them.
CallReader::Step CallReader::ReadParameter(std::string_view& text) {
  std::string_view rest = text;
  const Step begun = Take(rest, syntax_.parameter_begin);
  if (begun == Step::kBad) {
    // What follows is the call's end, which is looked for by whoever knows it.
    out_.Arguments(arguments_ ? "}" : "{}");
    return Step::kDone;
  }
  if (begun != Step::kDone) return Step::kMore;
  size_t size = 0;
  while (size < rest.size() && IsNameChar(rest[size])) ++size;
  if (size > kMaxName || (size == 0 && !rest.empty())) return Step::kBad;
  if (size == rest.size()) return Step::kMore;
  std::string_view string = rest.substr(size), value = string;
  const Step quoted = Take(string, syntax_.string_begin);
  const Step plain = Take(value, syntax_.value_begin);
  if (quoted == Step::kMore || plain == Step::kMore) return Step::kMore;
  if (quoted != Step::kDone && plain != Step::kDone) return Step::kBad;
  key_ = rest.substr(0, size);
  if (!keys_.insert(key_).second) return Step::kBad;
  quoted_ = quoted == Step::kDone && plain != Step::kDone;
  text = quoted == Step::kDone ? string : value;
  searched_ = 0;
  const auto type = tool_->types.find(key_);
  nested_ = !quoted_ && type != tool_->types.end() &&
            (type->second == "object" || type->second == "array");
  scanner_ = JsonScanner();
  state_ = State::kValue;
  return Step::kMore;
}

// The strings of a JSON value may hold what ends one.
void CallReader::SkipJson(std::string_view text) {
  bool begun = !Trimmed(text.substr(0, searched_)).empty();
  for (; nested_ && searched_ < text.size(); ++searched_) {
    const char c = text[searched_];
    if (!begun && IsSpace(c)) continue;
    const bool json = begun || c == '{' || c == '[';
    begun = true;
    const auto step = json ? scanner_.Push(c) : JsonScanner::Step::kBad;
    nested_ = step == JsonScanner::Step::kMore;
    if (step != JsonScanner::Step::kBad) continue;
    searched_ = 0;
    return;
  }
}

CallReader::Step CallReader::ReadValue(std::string_view& text) {
  SkipJson(text);
  if (nested_) return Step::kMore;
  const std::string_view end = Trimmed(syntax_.parameter_end);
  const size_t at = text.find(end, searched_);
  if (at == std::string_view::npos) {
    searched_ = text.size() - std::min(text.size(), end.size() - 1);
    return Step::kMore;
  }
  const bool string_begin = quoted_ || syntax_.string_begin == syntax_.value_begin;
  const std::string_view value =
      Inner(text.substr(0, at), string_begin ? syntax_.string_begin : syntax_.value_begin,
            syntax_.parameter_end);
  const auto type = tool_->types.find(key_);
  const std::string_view known = type == tool_->types.end() ? "" : std::string_view(type->second);
  const std::string json = quoted_ ? Quoted(value) : ValueJson(known, value);
  out_.Arguments((arguments_ ? ", " : "{") + Quoted(key_) + ": " + json);
  arguments_ = true;
  text.remove_prefix(at + end.size());
  state_ = State::kParameters;
  return Step::kMore;
}

CallReader::Step CallReader::ReadValues(std::string_view& text) {
  const Values values = chat::ReadValues(text, syntax_);
  if (values.kind == Values::Kind::kMore && text.size() < kMaxValues) return Step::kMore;
  if (values.kind != Values::Kind::kDone) return Step::kBad;
  out_.Arguments(values.json);
  text.remove_prefix(values.size);
  return Step::kDone;
}

std::string CallReader::Rest() const {
  if (state_ == State::kObject) return object_.Rest();
  if (state_ == State::kParameters || state_ == State::kValue) return arguments_ ? "}" : "{}";
  return arguments_ ? scanner_.Rest() : "{}";
}

}  // namespace exo::chat
