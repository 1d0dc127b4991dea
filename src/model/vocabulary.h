// The token table of a GGUF file with its special tokens: what all kinds of tokenizers share.
// Owns copies of everything: the file may go after Load. Immutable, any thread.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/gguf.h"

namespace exo::model {

// GGUF's token_type numbers.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// Which keys a file must have, and what is meant where it has none.
enum class VocabularyKind : uint8_t { kByteLevel, kSentencePiece, kUnigram, kWordPiece };

struct Vocabulary {
  std::vector<std::string> texts;
  std::vector<float> scores;                          // empty when the file has none
  std::vector<TokenType> types;                       // one per token
  std::vector<bool> ends;                             // ends a generation
  std::unordered_map<std::string_view, TokenId> ids;  // of texts
  size_t longest = 0;                                 // bytes of the longest text

  TokenId bos = -1;
  TokenId eos = -1;
  TokenId unknown = -1;
  TokenId text_end = -1;  // ends a text that is read as a whole; -1: nothing
  bool add_bos = false;
  bool add_space_prefix = false;
  // Phi-3: white space after a special token belongs to the token.
  bool specials_eat_space = false;

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  size_t size() const { return texts.size(); }
  bool Valid(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < texts.size(); }
  TokenType type(TokenId id) const { return types[static_cast<size_t>(id)]; }
  // -1 when there is no such token.
  TokenId Find(std::string_view text) const {
    const auto found = ids.find(text);
    return found == ids.end() ? -1 : found->second;
  }

  // Errors: kCorrupt.
  static Result<Vocabulary> Load(const Gguf& gguf, VocabularyKind kind);
};

}  // namespace exo::model
