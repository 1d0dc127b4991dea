// SentencePiece's precompiled normalization: which sequences of bytes are replaced by which texts.
// A double array trie (Aoe 1989, as in darts-clone) and the replacements behind it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo::model {

class Charsmap {
 public:
  Charsmap() = default;  // replaces nothing
  // `bytes`: u32 length of the array, the array of u32, replacements that each end in a zero.
  // Errors: kCorrupt.
  static Result<Charsmap> Parse(std::span<const std::byte> bytes);

  // `text` with the longest match at each place replaced; bytes that are no UTF-8 by U+FFFD.
  // Cost: linear, with the length of the longest match.
  std::string Normalize(std::string_view text) const;

 private:
  // What the longest match at the start of `text` is replaced by; its length, 0: none.
  struct Match {
    size_t length = 0;
    std::string_view replacement;
  };
  Match Find(std::string_view text) const;

  std::vector<uint32_t> nodes_;
  std::string replacements_;
};

}  // namespace exo::model
