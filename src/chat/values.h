// Argument values as formats other than JSON write them, and as JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/answer_format.h"

namespace exo::chat {

// The JSON of a value that stands as text between tags. `type`: of its schema; empty: unknown, then
// a text that is JSON is that, and every other one a string.
std::string ValueJson(std::string_view type, std::string_view text);
// The text of a JSON string.
std::string Quoted(std::string_view text);

// Values as in a program, up to their closing bracket: (city="Rome", days=[1, 2]).
struct Values {
  enum class Kind : uint8_t { kMore, kBad, kDone };
  Kind kind = Kind::kBad;
  size_t size = 0;   // of the text, when done
  std::string json;  // an object
};
// `text` begins with syntax.values_open.
Values ReadValues(std::string_view text, const CallSyntax& syntax);

}  // namespace exo::chat
