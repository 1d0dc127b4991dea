// What all kinds of tokenizer share: special tokens, trust, decoding by a table of bytes per
// token. A kind adds how ordinary text becomes ids and what the bytes of its tokens are.
#pragma once

#include "model/specials.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"

namespace exo::model {

class TokenizerBase : public Tokenizer {
 public:
  explicit TokenizerBase(Vocabulary vocabulary);

  std::vector<TokenId> Encode(std::string_view text, bool parse_control) const final;
  std::vector<TokenId> EncodePieces(std::span<const TextPiece> pieces) const final;
  std::string Bytes(TokenId id, bool show_control) const final;
  std::string Decode(std::span<const TokenId> ids, bool show_control) const final;
  size_t vocab_size() const final { return vocabulary_.size(); }
  TokenId bos() const final { return vocabulary_.bos; }
  TokenId eos() const final { return vocabulary_.eos; }
  bool add_bos() const final { return vocabulary_.add_bos; }
  TokenId text_end() const final { return vocabulary_.text_end; }
  bool IsControl(TokenId id) const final;
  bool IsEndOfGeneration(TokenId id) const final;

 protected:
  // Appends the ids of text without special tokens. after_special: nothing or a special token is
  // before it.
  virtual void EncodeText(std::string_view text, bool after_special,
                          std::vector<TokenId>& out) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // The bytes of ordinary token `id`: set by the constructor of each kind.
  std::vector<std::string> bytes_;

 private:
  std::vector<TokenId> EncodeMarked(std::string_view text,
                                    std::span<const size_t> trusted_until) const;

  Vocabulary vocabulary_;
  SpecialFinder specials_;
};

// The kinds. Errors: kCorrupt, kUnsupported (pre-tokenizer).
Result<std::shared_ptr<const Tokenizer>> MakeSpmTokenizer(const Gguf& gguf);
Result<std::shared_ptr<const Tokenizer>> MakeBpeTokenizer(const Gguf& gguf);
Result<std::shared_ptr<const Tokenizer>> MakeUnigramTokenizer(const Gguf& gguf);
Result<std::shared_ptr<const Tokenizer>> MakeWordPieceTokenizer(const Gguf& gguf);

}  // namespace exo::model
