// A call that is one JSON object with the name and the arguments as members, from pieces of its
// text; members may come in any order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "chat/answer_format.h"
#include "chat/json_scanner.h"

namespace exo::chat {

class ObjectReader {
 public:
  enum class Step : uint8_t {
    kMore,       // everything was read
    kName,       // name() has come
    kArguments,  // take() has more of the arguments
    kDone,       // the object has ended
    kBad,
  };
  explicit ObjectReader(const CallSyntax& syntax) : syntax_(syntax) {}

  // Reads from `text`, which it shortens, until there is something to say.
  Step Read(std::string_view& text);
  const std::string& name() const { return name_; }
  bool has_name() const { return has_name_; }
  // What has come of the arguments since the last time.
  std::string Take() { return std::exchange(arguments_, ""); }
  bool has_arguments() const { return has_arguments_; }
  // What is missing of the arguments.
  std::string Rest() const;

 private:
  enum class State : uint8_t { kOpen, kFirst, kKey, kInKey, kColon, kValue, kInValue, kAfter };
  enum class Role : uint8_t { kOther, kName, kArguments };
  // A character outside of keys and values.
  Step Between(char c);
  Step InValue(char c, bool& taken);
  Step ValueEnded();
  Role RoleOf(std::string_view key) const;

  const CallSyntax& syntax_;
  State state_ = State::kOpen;
  JsonScanner scanner_;
  Role role_ = Role::kOther;
  std::string raw_;  // of a key, or of a value that is no object of arguments
  std::string name_, arguments_;
  bool has_name_ = false, has_arguments_ = false;
  bool streams_ = false;  // the value at work is an object of arguments
};

}  // namespace exo::chat
