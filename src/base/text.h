// Text that came from elsewhere (arguments, file names, other devices), made safe to show or store.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace exo {

// `bytes` with each ill-formed UTF-8 sequence replaced by U+FFFD (the maximal-subpart rule of the
// Unicode standard, as in web browsers). Well-formed text comes back unchanged.
std::string ToUtf8(std::string_view bytes);
bool IsUtf8(std::string_view bytes);

// For a terminal, a table or a log line: ToUtf8, and every control character (C0, DEL, C1, and the
// line and paragraph separators) and bidirectional override written as an escape: "\n", "\x1b",
// "\u202e". Characters in `keep` stay as they are.
std::string Printable(std::string_view bytes, std::string_view keep = "");

// What a mistyped `word` was probably meant to be: the candidate at the smallest edit distance
// (insertions, deletions, replacements, swaps of neighbors), empty when none is near.
std::string Nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace exo
