#include "chat/object_reader.h"

#include <nlohmann/json.hpp>

#include "chat/literal.h"

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxRaw = 1u << 20;

std::string Text(const std::string& raw) {
  const Json json = Json::parse(raw, nullptr, false);
  return json.is_string() ? json.get<std::string>() : "";
}

// Arguments that a model has written as a text with JSON in it.
bool IsObject(std::string_view text) {
  JsonScanner scanner;
  text = Trimmed(text);
  if (!text.starts_with('{')) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto step = scanner.Push(text[i]);
    if (step != JsonScanner::Step::kMore)
      return step == JsonScanner::Step::kDone && i + 1 == text.size();
  }
  return false;
}

}  // namespace

ObjectReader::Role ObjectReader::RoleOf(std::string_view key) const {
  if (key == syntax_.name_key || key == "name") return has_name_ ? Role::kOther : Role::kName;
  if (key == syntax_.arguments_key || key == "arguments" || key == "parameters")
    return has_arguments_ ? Role::kOther : Role::kArguments;
  return Role::kOther;
}

ObjectReader::Step ObjectReader::Read(std::string_view& text) {
  Step step = Step::kMore;
  while (!text.empty() && step == Step::kMore) {
    bool taken = true;
    const char c = text.front();
    if (state_ == State::kInKey) {
      raw_ += c;
      const auto scanned = scanner_.Push(c);
      if (scanned == JsonScanner::Step::kBad || raw_.size() > kMaxRaw) return Step::kBad;
      if (scanned == JsonScanner::Step::kDone) {
        role_ = RoleOf(Text(raw_));
        state_ = State::kColon;
      }
    } else if (state_ == State::kInValue) {
      step = InValue(c, taken);
    } else if (!IsSpace(c)) {
      step = Between(c);
      taken = state_ != State::kInValue;
    }
    if (taken) text.remove_prefix(1);
  }
  if (step == Step::kMore && !arguments_.empty() && has_name_) return Step::kArguments;
  return step;
}

ObjectReader::Step ObjectReader::Between(char c) {
  switch (state_) {
    case State::kOpen:
      state_ = State::kFirst;
      return c == '{' ? Step::kMore : Step::kBad;
    case State::kFirst:
    case State::kKey:
      if (c != '"') return Step::kBad;
      state_ = State::kInKey;
      scanner_ = JsonScanner();
      raw_ = c;
      scanner_.Push(c);
      return Step::kMore;
    case State::kColon:
      state_ = State::kValue;
      return c == ':' ? Step::kMore : Step::kBad;
    case State::kValue:
      state_ = State::kInValue;
      scanner_ = JsonScanner();
      raw_.clear();
      streams_ = role_ == Role::kArguments && c == '{';
      has_arguments_ |= streams_;
      return Step::kMore;
    default:
      if (c == '}') return Step::kDone;
      state_ = State::kKey;
      return c == ',' ? Step::kMore : Step::kBad;
  }
}

ObjectReader::Step ObjectReader::InValue(char c, bool& taken) {
  const auto scanned = scanner_.Push(c);
  if (scanned == JsonScanner::Step::kBad) return Step::kBad;
  taken = scanned != JsonScanner::Step::kBefore;
  if (taken) (streams_ ? arguments_ : raw_) += c;
  if (raw_.size() > kMaxRaw) return Step::kBad;
  return scanned == JsonScanner::Step::kMore ? Step::kMore : ValueEnded();
}

ObjectReader::Step ObjectReader::ValueEnded() {
  state_ = State::kAfter;
  if (role_ == Role::kName) {
    name_ = Text(raw_);
    has_name_ = true;
    return name_.empty() ? Step::kBad : Step::kName;
  }
  if (role_ == Role::kArguments && !streams_) {
    if (raw_ != "null") {
      arguments_ = Text(raw_);
      if (!IsObject(arguments_)) return Step::kBad;
      has_arguments_ = true;
    }
  }
  streams_ = false;
  return Step::kMore;
}

std::string ObjectReader::Rest() const {
  if (!has_arguments_) return "{}";
  return streams_ && state_ == State::kInValue ? scanner_.Rest() : "";
}

}  // namespace exo::chat
