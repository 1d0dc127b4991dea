// How SentencePiece's vocabularies write spaces and bytes.
#pragma once

#include <string>
#include <string_view>

namespace exo::model {

inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

// `text` with spaces for marks.
inline std::string UnmarkSpaces(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i).starts_with(kSpaceMark)) {
      out += ' ';
      i += kSpaceMark.size();
    } else {
      out += text[i++];
    }
  }
  return out;
}

// The value of "<0x1F>", -1 for anything else.
inline int ByteOfToken(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'A' && c <= 'F')) return -1;
    value = value * 16 + (digit ? c - '0' : c - 'A' + 10);
  }
  return value;
}

}  // namespace exo::model
