// Any bytes as text: encoding never fails, decoding gives the same bytes back where the vocabulary
// keeps them, and control tokens never come out of text that is not trusted.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "base/check.h"
#include "model/bert_words.h"
#include "model/gguf_builder.h"
#include "model/tokenizer.h"

namespace {

using namespace exo::model;

std::shared_ptr<const Tokenizer> Load(const GgufBuilder& builder) {
  const std::string file = builder.Build();
  return Tokenizer::Load(ParseText(file).value()).value();
}

void Check(const Tokenizer& tokenizer, std::string_view text, size_t cut) {
  const auto ids = tokenizer.Encode(text, false);
  CHECK(tokenizer.Decode(ids) == text);
  for (const exo::TokenId id : ids) CHECK(!tokenizer.IsControl(id));
  const std::string head(text.substr(0, cut));
  const std::string tail(text.substr(cut));
  const std::vector<TextPiece> pieces = {{head, true}, {tail, false}};
  CHECK(tokenizer.Decode(tokenizer.EncodePieces(pieces), true) == text);
}

// Normalization forgets, so that only the ids are checked: of words that are known none is a
// control token, and what they decode to has the same ids.
void CheckWordPiece(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<exo::TokenId> known = tokenizer.Encode(text, false);
  constexpr exo::TokenId kUnknown = 1;
  std::erase(known, kUnknown);
  for (const exo::TokenId id : known) CHECK(!tokenizer.IsControl(id));
  CHECK(tokenizer.Encode(tokenizer.Decode(known), false) == known);
}

}  // namespace

// First byte: where trusted text ends.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::shared_ptr<const Tokenizer>> tokenizers = {
      Load(SmallBpe("gpt-2")), Load(SmallBpe("llama-bpe")), Load(SmallBpe("qwen2")),
      Load(SmallBpe("default"))};
  static const std::shared_ptr<const Tokenizer> spm = Load(SmallSpm());
  static const std::vector<std::shared_ptr<const Tokenizer>> word_pieces = {
      Load(SmallWordPiece()), Load(SmallWordPiece().String("tokenizer.ggml.pre", kHuggingFaceBert)),
      Load(SmallWordPiece().Bool("tokenizer.ggml.normalizer.lowercase", false))};
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = std::min<size_t>(data[0], text.size());
  for (const auto& tokenizer : tokenizers) Check(*tokenizer, text, cut);
  // SentencePiece cannot tell its space mark from a space, so that only its ids are checked.
  for (const exo::TokenId id : spm->Encode(text, true))
    CHECK_LT(static_cast<size_t>(id), spm->vocab_size());
  for (const auto& tokenizer : word_pieces) CheckWordPiece(*tokenizer, text);
  return 0;
}
