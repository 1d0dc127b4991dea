// Where a JSON value ends, from pieces of its text, and what is missing of one that was cut.
//
// Thread: one caller at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace exo::chat {

// Checks the value's form strictly (RFC 8259); bytes within strings are taken as they are.
class JsonScanner {
 public:
  static constexpr size_t kMaxDepth = 128;

  enum class Step : uint8_t {
    kMore,
    kDone,    // the character is the value's last one
    kBefore,  // a number has ended before the character
    kBad,     // no JSON value goes on like this
  };
  // White space before the value is kMore. After another answer than kMore: not to be called.
  Step Push(char c);

  // A text behind which the value is whole: quotes and brackets that are open are closed, a value
  // that is missing is null. The value has begun and is neither done nor bad.
  std::string Rest() const;

 private:
  enum class State : uint8_t {
    kValue,
    kFirstItem,  // a value, or the end of the list
    kFirstKey,   // a key, or the end of the object
    kKey,
    kColon,
    kAfter,  // a comma, or the end of what is open
    kString,
    kEscape,
    kHex,
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponent,
    kSign,
    kExponentDigits,
    kLiteral,
  };
  Step Begin(char c);
  Step InString(char c);
  Step InNumber(char c);
  Step InLiteral(char c);
  // The value that was at work has ended.
  Step Ended();
  Step Close(char open);

  State state_ = State::kValue;
  std::string open_;  // brackets
  bool key_ = false;  // the string at work is one
  int hex_ = 0;       // digits of an escape that are missing
  std::string_view literal_;
  size_t at_ = 0;  // in literal_
};

}  // namespace exo::chat
