// What BERT's normalization asks of characters, by the tables of one version of Unicode. Pure
// functions of any code point, any thread.
#pragma once

#include <string>

namespace exo::model {

bool IsWhiteSpace(char32_t code);      // the property White_Space
bool IsPunctuation(char32_t code);     // category P
bool IsControlCode(char32_t code);     // categories Cc, Cf and Co
bool IsMark(char32_t code);            // category M: accents, signs of vowels
bool IsNonspacingMark(char32_t code);  // category Mn: those that take no room

// The first character of the lower case, which is all of it but for U+0130; the character itself
// where it has none.
char32_t LowerCase(char32_t code);

// What the canonical decomposition begins with: letters without their accents.
char32_t DecompositionHead(char32_t code);

// Appends the canonical decomposition without nonspacing marks: nothing for an accent alone, the
// letters of a Hangul syllable.
void AppendWithoutAccents(char32_t code, std::u32string& out);

}  // namespace exo::model
