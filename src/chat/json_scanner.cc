#include "chat/json_scanner.h"

#include <algorithm>

namespace exo::chat {
namespace {

bool IsSpace(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsHex(char c) {
  return IsDigit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

}  // namespace

JsonScanner::Step JsonScanner::Push(char c) {
  switch (state_) {
    case State::kString:
    case State::kEscape:
    case State::kHex:
      return InString(c);
    case State::kLiteral:
      return InLiteral(c);
    case State::kMinus:
    case State::kZero:
    case State::kDigits:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kSign:
    case State::kExponentDigits:
      return InNumber(c);
    default:
      break;
  }
  if (IsSpace(c)) return Step::kMore;
  switch (state_) {
    case State::kFirstItem:
      return c == ']' ? Close('[') : Begin(c);
    case State::kFirstKey:
      if (c == '}') return Close('{');
      [[fallthrough]];
    case State::kKey:
      if (c != '"') return Step::kBad;
      key_ = true;
      state_ = State::kString;
      return Step::kMore;
    case State::kColon:
      state_ = State::kValue;
      return c == ':' ? Step::kMore : Step::kBad;
    case State::kAfter:
      if (c == '}' || c == ']') return Close(c == '}' ? '{' : '[');
      state_ = open_.back() == '{' ? State::kKey : State::kValue;
      return c == ',' ? Step::kMore : Step::kBad;
    default:
      return Begin(c);
  }
}

JsonScanner::Step JsonScanner::Begin(char c) {
  if (c == '{' || c == '[') {
    if (open_.size() == kMaxDepth) return Step::kBad;
    open_.push_back(c);
    state_ = c == '{' ? State::kFirstKey : State::kFirstItem;
    return Step::kMore;
  }
  if (c == '"') {
    key_ = false;
    state_ = State::kString;
    return Step::kMore;
  }
  if (c == '-' || IsDigit(c)) {
    state_ = c == '-' ? State::kMinus : c == '0' ? State::kZero : State::kDigits;
    return Step::kMore;
  }
  literal_ = c == 't' ? "true" : c == 'f' ? "false" : c == 'n' ? "null" : "";
  if (literal_.empty()) return Step::kBad;
  at_ = 1;
  state_ = State::kLiteral;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Ended() {
  state_ = State::kAfter;
  return open_.empty() ? Step::kDone : Step::kMore;
}

JsonScanner::Step JsonScanner::Close(char open) {
  if (open_.empty() || open_.back() != open) return Step::kBad;
  open_.pop_back();
  return Ended();
}

JsonScanner::Step JsonScanner::InString(char c) {
  if (static_cast<uint8_t>(c) < 0x20) return Step::kBad;
  if (state_ == State::kHex) {
    if (!IsHex(c)) return Step::kBad;
    if (--hex_ == 0) state_ = State::kString;
  } else if (state_ == State::kEscape) {
    hex_ = 4;
    state_ = c == 'u' ? State::kHex : State::kString;
    if (std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos) return Step::kBad;
  } else if (c == '\\') {
    state_ = State::kEscape;
  } else if (c == '"') {
    if (!key_) return Ended();
    key_ = false;
    state_ = State::kColon;
  }
  return Step::kMore;
}

JsonScanner::Step JsonScanner::InNumber(char c) {
  const bool digit = IsDigit(c);
  const auto go = [this](State state) {
    state_ = state;
    return Step::kMore;
  };
  switch (state_) {
    case State::kMinus:
      return digit ? go(c == '0' ? State::kZero : State::kDigits) : Step::kBad;
    case State::kPoint:
      return digit ? go(State::kFraction) : Step::kBad;
    case State::kExponent:
      if (c == '+' || c == '-') return go(State::kSign);
      [[fallthrough]];
    case State::kSign:
      return digit ? go(State::kExponentDigits) : Step::kBad;
    default:
      break;
  }
  if (digit && state_ == State::kZero) return Step::kBad;
  if (digit) return Step::kMore;
  if (c == '.' && (state_ == State::kZero || state_ == State::kDigits)) return go(State::kPoint);
  if ((c | 32) == 'e' && state_ != State::kExponentDigits) return go(State::kExponent);
  if (Ended() == Step::kDone) return Step::kBefore;
  return Push(c);
}

JsonScanner::Step JsonScanner::InLiteral(char c) {
  if (c != literal_[at_]) return Step::kBad;
  return ++at_ == literal_.size() ? Ended() : Step::kMore;
}

std::string JsonScanner::Rest() const {
  std::string rest;
  switch (state_) {
    case State::kEscape:
    case State::kHex:
      rest = state_ == State::kEscape ? "\\" : std::string(static_cast<size_t>(hex_), '0');
      [[fallthrough]];
    case State::kString:
      rest += key_ ? "\":null" : "\"";
      break;
    case State::kKey:
      rest = "\"\":null";
      break;
    case State::kColon:
      rest = ":null";
      break;
    case State::kValue:
      rest = "null";
      break;
    case State::kMinus:
    case State::kPoint:
    case State::kExponent:
    case State::kSign:
      rest = "0";
      break;
    case State::kLiteral:
      rest = literal_.substr(at_);
      break;
    default:
      break;
  }
  for (auto open = open_.rbegin(); open != open_.rend(); ++open) rest += *open == '{' ? '}' : ']';
  return rest;
}

}  // namespace exo::chat
