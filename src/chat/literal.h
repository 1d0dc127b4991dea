// Texts of a format in an answer. Models differ from their templates in white space: any of it, or
// none, stands for a literal's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace exo::chat {

inline bool IsSpace(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}
// Of the names of tools and arguments where nothing else tells where they end.
inline bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/';
}
std::string_view Trimmed(std::string_view text);

struct Match {
  enum class Kind : uint8_t { kNo, kPart, kWhole };
  Kind kind = Kind::kNo;
  size_t size = 0;  // of the text, when whole; without the white space at the literal's end
};
// Whether `text` begins with `literal`, or is a beginning of it.
Match MatchLiteral(std::string_view text, std::string_view literal);

// Where a literal begins in `text`, whole or as far as the text goes; npos: nowhere.
size_t FindLiteral(std::string_view text, std::string_view literal, size_t from = 0);

}  // namespace exo::chat
