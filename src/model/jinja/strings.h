// String operations of the interpreter: each keeps the mark of every byte it passes on.
#pragma once

#include <vector>

#include "model/jinja/value.h"

namespace exo::model::jinja {

// Where characters begin, and the size at the end: n + 1 entries for n characters.
std::vector<size_t> CharStarts(const std::string& bytes);
size_t CharCount(const std::string& bytes);
// Bytes of the white-space character at `at`, 0 when there is none (Python's str.isspace).
size_t SpaceLength(std::string_view bytes, size_t at);

enum class Side { kBoth, kLeft, kRight };
// Without `chars`: white space; with: any of its characters.
Text Strip(const Text& text, Side side, const std::string* chars);
// separator empty: at runs of white space. most < 0: no limit. from_right: the limit counts from
// the end.
std::vector<Value> SplitText(const Text& text, std::string_view separator, int64_t most,
                             bool from_right);
std::vector<Value> SplitLines(const Text& text, bool keep_ends);
// Number of non-overlapping occurrences, at most `most`. Linear in text.
uint64_t CountOccurrences(std::string_view text, std::string_view part, uint64_t most);
Text Replace(const Text& text, std::string_view from, const Text& to, int64_t most);
size_t FindText(std::string_view text, std::string_view part, size_t from = 0);  // npos: absent

enum class Case { kUpper, kLower, kTitle, kCapital };
// Latin, Greek and Cyrillic; other scripts stay as they are.
Text ChangeCase(const Text& text, Case to);
char32_t UpperOf(char32_t code);
char32_t LowerOf(char32_t code);

}  // namespace exo::model::jinja
