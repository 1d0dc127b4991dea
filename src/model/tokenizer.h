// Text to token ids and back, exactly as the model was trained: SentencePiece BPE ("llama"),
// unigram ("t5"), WordPiece ("bert") and byte-level BPE ("gpt2" with the rules of
// model/pretokenizer_rules.h).
// Immutable after Load; every method may be called from any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/gguf.h"

namespace exo::model {

// Text that a template wrote may contain control tokens; text that a user wrote may not.
struct TextPiece {
  std::string text;
  bool trusted = false;  // true: control tokens written in it are recognized
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Errors: kUnsupported (tokenizer model or pre-tokenizer, named), kCorrupt (vocabulary).
  static Result<std::shared_ptr<const Tokenizer>> Load(const Gguf& gguf);

  // Ids of `text` without BOS/EOS. parse_control: control tokens written in the text are
  // recognized. Invalid UTF-8 is encoded byte by byte where the vocabulary can, never refused.
  // WordPiece drops it, with accents, white space and control characters.
  virtual std::vector<TokenId> Encode(std::string_view text, bool parse_control) const = 0;
  // Pieces one after the other as one text; control tokens only inside trusted pieces.
  virtual std::vector<TokenId> EncodePieces(std::span<const TextPiece> pieces) const = 0;
  // The bytes of one token (may be a part of a UTF-8 character). Control tokens: empty unless
  // show_control. Out-of-range ids: empty.
  virtual std::string Bytes(TokenId id, bool show_control = false) const = 0;
  // Text of a sequence: SentencePiece drops the one leading space that it added.
  virtual std::string Decode(std::span<const TokenId> ids, bool show_control = false) const = 0;

  virtual size_t vocab_size() const = 0;
  virtual TokenId bos() const = 0;   // -1: none
  virtual TokenId eos() const = 0;   // -1: none
  virtual bool add_bos() const = 0;  // raw prompts start with BOS
  // What ends a text that is read as a whole, for embeddings and scores; -1: nothing.
  virtual TokenId text_end() const = 0;
  virtual bool IsControl(TokenId id) const = 0;
  // Ends a generation: EOS, EOT and the usual end-of-turn tokens of the vocabulary.
  virtual bool IsEndOfGeneration(TokenId id) const = 0;
};

}  // namespace exo::model
