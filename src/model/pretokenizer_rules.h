// The rules of pre-tokenizers: which regular expressions cut a text into words, for each family of
// vocabularies, and the names by which files choose them. A table and nothing else; applying it is
// model/pretokenizer.h's.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace exo::model {

// What becomes of a stretch that an expression matches.
enum class Cut : uint8_t {
  kWord,          // one piece
  kBeforeThrees,  // a piece begins at its first byte and at every third one behind; none ends at
                  // its end
};

struct Expression {
  const char* pattern = nullptr;  // PCRE2, UTF and UCP; never matches the empty text
  Cut cut = Cut::kWord;
};

// Expressions are applied one after the other, each to the pieces that the ones before left:
// matches and the gaps between them.
struct PreTokenizerRule {
  std::string_view name;  // of the family: one of the names in tokenizer.ggml.pre
  std::array<Expression, 6> expressions;
};

// What a name in tokenizer.ggml.pre means.
struct PreTokenizerName {
  std::string_view name;
  std::string_view rule;
  bool whole_words = false;  // a word that is a token needs no merges
  bool adds_bos = false;     // prompts begin with BOS where the file does not say
};

// Errors: kUnsupported, with the name and those that are known.
Result<const PreTokenizerName*> FindPreTokenizer(std::string_view name);
// The rule of a name. CHECKs that it exists.
const PreTokenizerRule& RuleOf(const PreTokenizerName& name);
// All names, for tests and error messages.
std::span<const PreTokenizerName> PreTokenizerNames();

}  // namespace exo::model
