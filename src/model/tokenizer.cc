#include "model/tokenizer.h"

#include <algorithm>

#include "model/tokenizer_base.h"

namespace exo::model {
namespace {

bool IsSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Phi-3's exceptions from "special tokens eat the space after them".
bool KeepsSpace(std::string_view token) {
  return token == "<unk>" || token == "<s>" || token == "<|endoftext|>";
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const Gguf& gguf) {
  const auto model = gguf.GetString("tokenizer.ggml.model");
  if (!model)
    return Fail(ErrorCode::kCorrupt, "the file has no tokenizer: {}", model.error().message);
  if (*model == "llama") return MakeSpmTokenizer(gguf);
  if (*model == "gpt2") return MakeBpeTokenizer(gguf);
  if (*model == "t5") return MakeUnigramTokenizer(gguf);
  if (*model == "bert") return MakeWordPieceTokenizer(gguf);
  return Fail(ErrorCode::kUnsupported,
              "the tokenizer model '{}' (this build has llama, gpt2, t5 and bert)", *model);
}

TokenizerBase::TokenizerBase(Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), specials_(vocabulary_) {}

std::vector<TokenId> TokenizerBase::Encode(std::string_view text, bool parse_control) const {
  std::vector<size_t> trusted_until(text.size(), text.size());
  if (!parse_control) {
    for (size_t i = 0; i < text.size(); ++i) trusted_until[i] = i;
  }
  return EncodeMarked(text, trusted_until);
}

std::vector<TokenId> TokenizerBase::EncodePieces(std::span<const TextPiece> pieces) const {
  std::string text;
  std::vector<size_t> trusted_until;
  for (const TextPiece& piece : pieces) {
    text += piece.text;
    for (size_t i = trusted_until.size(); i < text.size(); ++i)
      trusted_until.push_back(piece.trusted ? text.size() : i);
  }
  // Neighboring trusted pieces are one stretch.
  for (size_t i = text.size(); i-- > 0;) {
    const size_t end = trusted_until[i];
    if (end > i && end < text.size())
      trusted_until[i] = trusted_until[end] > end ? trusted_until[end] : end;
  }
  return EncodeMarked(text, trusted_until);
}

std::vector<TokenId> TokenizerBase::EncodeMarked(std::string_view text,
                                                 std::span<const size_t> trusted_until) const {
  std::vector<TokenId> out;
  bool after_special = true;
  bool eat_space = false;
  for (const Fragment& fragment : specials_.Split(text, trusted_until)) {
    if (fragment.token >= 0) {
      out.push_back(fragment.token);
      after_special = true;
      eat_space = vocabulary_.specials_eat_space &&
                  !KeepsSpace(vocabulary_.texts[static_cast<size_t>(fragment.token)]);
      continue;
    }
    size_t begin = fragment.begin;
    while (eat_space && begin < fragment.end && IsSpace(text[begin])) ++begin;
    if (begin == fragment.end) continue;
    EncodeText(text.substr(begin, fragment.end - begin), after_special, out);
    after_special = false;
    eat_space = false;
  }
  return out;
}

std::string TokenizerBase::Bytes(TokenId id, bool show_control) const {
  if (!vocabulary_.Valid(id)) return {};
  const auto index = static_cast<size_t>(id);
  switch (vocabulary_.types[index]) {
    case TokenType::kUnknown:
    case TokenType::kControl:
      return show_control ? vocabulary_.texts[index] : std::string();
    case TokenType::kUserDefined:
      return vocabulary_.texts[index];
    case TokenType::kUnused:
      return {};
    default:
      return bytes_[index];
  }
}

std::string TokenizerBase::Decode(std::span<const TokenId> ids, bool show_control) const {
  std::string text;
  bool first = vocabulary_.add_space_prefix;
  for (const TokenId id : ids) {
    std::string bytes = Bytes(id, show_control);
    if (first && bytes.starts_with(' ')) bytes.erase(0, 1);
    first = false;
    text += bytes;
  }
  return text;
}

bool TokenizerBase::IsControl(TokenId id) const {
  return vocabulary_.Valid(id) && (vocabulary_.type(id) == TokenType::kControl ||
                                   vocabulary_.type(id) == TokenType::kUnknown);
}

bool TokenizerBase::IsEndOfGeneration(TokenId id) const {
  return vocabulary_.Valid(id) && vocabulary_.ends[static_cast<size_t>(id)];
}

}  // namespace exo::model
