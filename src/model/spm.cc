// SentencePiece BPE ("llama"): the text as a whole, spaces written as U+2581, merges by the score
// of the resulting token; what no token covers becomes byte tokens. Kudo & Richardson 2018.
#include <algorithm>
#include <array>

#include "model/merge.h"
#include "model/space_mark.h"
#include "model/tokenizer_base.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

// Symbols count in 32 bits; longer texts are encoded in stretches of this size.
constexpr size_t kMaxStretch = 64u << 20;

std::string EscapeSpaces(std::string_view text, bool prefix) {
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 3);
  if (prefix) out += kSpaceMark;
  for (const char c : text) {
    if (c == ' ') {
      out += kSpaceMark;
    } else {
      out += c;
    }
  }
  return out;
}

class SpmTokenizer final : public TokenizerBase {
 public:
  explicit SpmTokenizer(Vocabulary loaded) : TokenizerBase(std::move(loaded)) {
    byte_tokens_.fill(-1);
    bytes_.reserve(vocabulary().size());
    for (size_t i = 0; i < vocabulary().size(); ++i) {
      const std::string& text = vocabulary().texts[i];
      const int byte = vocabulary().types[i] == TokenType::kByte ? ByteOfToken(text) : -1;
      if (byte >= 0) byte_tokens_[static_cast<size_t>(byte)] = static_cast<TokenId>(i);
      bytes_.push_back(byte >= 0 ? std::string(1, static_cast<char>(byte)) : UnmarkSpaces(text));
    }
  }

 private:
  void EncodeText(std::string_view text, bool after_special,
                  std::vector<TokenId>& out) const override {
    bool prefix = vocabulary().add_space_prefix && after_special;
    while (!text.empty()) {
      const std::string escaped = EscapeSpaces(text.substr(0, kMaxStretch), prefix);
      EncodeEscaped(escaped, out);
      text.remove_prefix(std::min(text.size(), kMaxStretch));
      prefix = false;
    }
  }

  void EncodeEscaped(std::string_view text, std::vector<TokenId>& out) const {
    std::vector<Symbol> symbols;
    symbols.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::max<size_t>(1, Utf8Length(text, at));
      symbols.push_back({.begin = static_cast<uint32_t>(at), .size = static_cast<uint32_t>(size)});
      at += size;
    }
    MergeSymbols<float>(symbols, [&](const Symbol& a, const Symbol&, Candidate<float>& candidate) {
      if (candidate.size > vocabulary().longest) return false;
      const TokenId id = vocabulary().Find(text.substr(a.begin, candidate.size));
      if (id < 0) return false;
      candidate.priority = vocabulary().scores[static_cast<size_t>(id)];
      candidate.value = id;
      return true;
    });
    for (const Symbol& symbol : symbols) {
      if (symbol.size != 0) Emit(text.substr(symbol.begin, symbol.size), symbol.value, out);
    }
  }

  void Emit(std::string_view text, TokenId id, std::vector<TokenId>& out) const {
    if (id < 0) id = vocabulary().Find(text);
    if (id >= 0) {
      out.push_back(id);
      return;
    }
    for (const char c : text) {
      const TokenId byte = byte_tokens_[static_cast<uint8_t>(c)];
      if (byte >= 0) {
        out.push_back(byte);
      } else if (vocabulary().unknown >= 0) {
        out.push_back(vocabulary().unknown);
      }
    }
  }

  std::array<TokenId, 256> byte_tokens_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeSpmTokenizer(const Gguf& gguf) {
  return std::make_shared<const SpmTokenizer>(
      TRY(Vocabulary::Load(gguf, VocabularyKind::kSentencePiece)));
}

}  // namespace exo::model
