#include "base/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace exo {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr std::string_view kReplacementBytes = "\xEF\xBF\xBD";

// The character at the front of `bytes` and how many bytes it takes. An ill-formed sequence is
// kReplacement of its maximal subpart, with `valid` false. `bytes` is not empty.
struct Character {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = true;
};

Character Next(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t first = at(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return {kReplacement, 1, false};
  char32_t code = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    // The second byte excludes overlong forms, surrogates and what is beyond U+10FFFF.
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1 && first == 0xE0) low = 0xA0;
    if (i == 1 && first == 0xED) high = 0x9F;
    if (i == 1 && first == 0xF0) low = 0x90;
    if (i == 1 && first == 0xF4) high = 0x8F;
    if (i >= bytes.size() || at(i) < low || at(i) > high) return {kReplacement, i, false};
    code = code << 6 | (at(i) & 0x3F);
  }
  return {code, length};
}

// What a terminal may act on instead of showing it.
bool IsControl(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

std::string Escape(char32_t code) {
  switch (code) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return code < 0x100 ? fmt::format("\\x{:02x}", static_cast<uint32_t>(code))
                          : fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  }
}

// Damerau-Levenshtein distance without moved substrings (optimal string alignment).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Character next = Next(bytes);
    if (!next.valid) return false;
    bytes.remove_prefix(next.bytes);
  }
  return true;
}

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Character next = Next(bytes);
    text += next.valid ? bytes.substr(0, next.bytes) : kReplacementBytes;
    bytes.remove_prefix(next.bytes);
  }
  return text;
}

std::string Printable(std::string_view bytes, std::string_view keep) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Character next = Next(bytes);
    const bool kept = next.code < 0x80 && keep.find(static_cast<char>(next.code)) != keep.npos;
    if (!next.valid) {
      text += kReplacementBytes;
    } else if (IsControl(next.code) && !kept) {
      text += Escape(next.code);
    } else {
      text += bytes.substr(0, next.bytes);
    }
    bytes.remove_prefix(next.bytes);
  }
  return text;
}

std::string Nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr size_t kMaxWord = 64;  // the table below is quadratic
  if (word.size() > kMaxWord) return "";
  std::string nearest;
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace exo
