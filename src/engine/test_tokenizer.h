// A tokenizer of few tokens, for tests of grammars: 0 ends an answer, then the letters from a to z,
// the digits, a few signs, and some longer tokens. The rest of the vocabulary writes nothing.
#pragma once

#include <string>
#include <vector>

#include "model/tokenizer.h"

namespace exo::engine {

class TestTokenizer final : public model::Tokenizer {
 public:
  explicit TestTokenizer(size_t vocab) : bytes_(1) {
    for (char c = 'a'; c <= 'z'; ++c) bytes_.emplace_back(1, c);
    for (char c = '0'; c <= '9'; ++c) bytes_.emplace_back(1, c);
    for (const char* text : {"-", "\"", "{", "}", ":", ",", "ab", "abc", "12", "\":", "{\"", "-a"})
      bytes_.emplace_back(text);
    bytes_.resize(vocab);
  }
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::vector<TokenId> EncodePieces(std::span<const model::TextPiece>) const override { return {}; }
  std::string Bytes(TokenId id, bool) const override { return bytes_[static_cast<size_t>(id)]; }
  std::string Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += Bytes(id, false);
    return text;
  }
  size_t vocab_size() const override { return bytes_.size(); }
  TokenId bos() const override { return -1; }
  TokenId eos() const override { return 0; }
  bool add_bos() const override { return false; }
  TokenId text_end() const override { return -1; }
  bool IsControl(TokenId id) const override { return id == 0; }
  bool IsEndOfGeneration(TokenId id) const override { return id == 0; }

 private:
  std::vector<std::string> bytes_;
};

}  // namespace exo::engine
