// Byte-level BPE ("gpt2"): words from the pre-tokenizer, bytes written as printable characters,
// merges by rank. Sennrich et al. 2016; the byte alphabet is that of Radford et al. 2019 (GPT-2).
#include <algorithm>
#include <array>
#include <optional>

#include "model/merge.h"
#include "model/pretokenizer.h"
#include "model/tokenizer_base.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

constexpr size_t kMaxMerges = 1u << 22;
// Longer words are encoded in stretches: symbols count in 32 bits.
constexpr size_t kMaxWord = 16u << 20;
// Words up to this length are remembered within one call: most words of a text repeat.
constexpr size_t kMaxCachedWord = 32;
constexpr size_t kMaxCachedWords = 65536;

// Printable bytes stand for themselves, the others for U+0100 and up, in order.
struct ByteAlphabet {
  std::array<std::string, 256> text_of;
  std::array<int16_t, 0x180> byte_of;

  ByteAlphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
      Utf8Append(code, text_of[static_cast<size_t>(byte)]);
      byte_of[code] = static_cast<int16_t>(byte);
    }
  }

  std::string Decode(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t length = Utf8Length(text, at);
      const char32_t code = length == 0 ? 0x10ffff : Utf8Decode(text, at, length);
      if (code < byte_of.size() && byte_of[code] >= 0) {
        out += static_cast<char>(byte_of[code]);
      } else {
        out += text.substr(at, std::max<size_t>(1, length));
      }
      at += std::max<size_t>(1, length);
    }
    return out;
  }
};

// Merge rules over interned strings. A symbol is any string that takes part in merging; it need not
// be a token.
class MergeTable {
 public:
  struct Rule {
    int32_t rank = 0;
    int32_t result = -1;
  };

  // `line` is "left right"; one separating space, which may not be the first character.
  Result<void> Add(std::string_view line, int32_t rank) {
    const size_t space = line.find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= line.size()) {
      return Fail(ErrorCode::kCorrupt, "merge {} of the vocabulary is '{}' instead of two parts",
                  rank, line);
    }
    const std::string_view left = line.substr(0, space);
    const std::string_view right = line.substr(space + 1);
    const int32_t result = Intern(std::string(left) + std::string(right));
    rules_.try_emplace(Key(Intern(left), Intern(right)), Rule{rank, result});
    return {};
  }

  int32_t Intern(std::string_view text) {
    const auto [place, fresh] =
        ids_.try_emplace(std::string(text), static_cast<int32_t>(ids_.size()));
    return place->second;
  }
  const Rule* Find(int32_t left, int32_t right) const {
    const auto found = rules_.find(Key(left, right));
    return found == rules_.end() ? nullptr : &found->second;
  }
  // The token of every symbol, -1 where there is none. Ends the interning.
  std::vector<TokenId> Resolve(const Vocabulary& vocabulary) {
    std::vector<TokenId> tokens(ids_.size(), -1);
    for (const auto& [text, id] : ids_) tokens[static_cast<size_t>(id)] = vocabulary.Find(text);
    ids_ = {};
    return tokens;
  }

 private:
  struct Mix {
    size_t operator()(uint64_t key) const {
      key *= 0x9E3779B97F4A7C15;
      return key ^ key >> 32;
    }
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<uint64_t, Rule, Mix> rules_;
};

struct BpeParts {
  Vocabulary vocabulary;
  MergeTable merges;
  std::unique_ptr<const PreTokenizer> words;
};

class BpeTokenizer final : public TokenizerBase {
 public:
  explicit BpeTokenizer(BpeParts parts)
      : TokenizerBase(std::move(parts.vocabulary)),
        merges_(std::move(parts.merges)),
        words_(std::move(parts.words)) {
    for (size_t byte = 0; byte < 256; ++byte)
      byte_symbols_[byte] = merges_.Intern(alphabet_.text_of[byte]);
    tokens_ = merges_.Resolve(vocabulary());
    bytes_.reserve(vocabulary().size());
    for (const std::string& text : vocabulary().texts) bytes_.push_back(alphabet_.Decode(text));
  }

 private:
  using Cache = std::unordered_map<std::string_view, std::vector<TokenId>>;

  void EncodeText(std::string_view text, bool, std::vector<TokenId>& out) const override {
    Cache cache;
    words_->Split(text, [&](std::string_view word) {
      if (word.size() > kMaxCachedWord) return EncodeLong(word, out);
      auto found = cache.find(word);
      if (found == cache.end()) {
        if (cache.size() >= kMaxCachedWords) cache.clear();
        found = cache.emplace(word, std::vector<TokenId>()).first;
        EncodeWord(word, found->second);
      }
      out.insert(out.end(), found->second.begin(), found->second.end());
    });
  }

  void EncodeLong(std::string_view word, std::vector<TokenId>& out) const {
    for (; !word.empty(); word.remove_prefix(std::min(word.size(), kMaxWord))) {
      EncodeWord(word.substr(0, kMaxWord), out);
    }
  }

  TokenId WholeWord(std::string_view word) const {
    if (!words_->whole_words() || word.size() > vocabulary().longest) return -1;
    std::string text;
    for (const char c : word) text += alphabet_.text_of[static_cast<uint8_t>(c)];
    return vocabulary().Find(text);
  }

  void EncodeWord(std::string_view word, std::vector<TokenId>& out) const {
    if (const TokenId whole = WholeWord(word); whole >= 0) return out.push_back(whole);
    std::vector<Symbol> symbols(word.size());
    for (size_t i = 0; i < word.size(); ++i) {
      symbols[i].begin = static_cast<uint32_t>(i);
      symbols[i].size = 1;
      symbols[i].value = byte_symbols_[static_cast<uint8_t>(word[i])];
    }
    MergeSymbols<int32_t>(symbols,
                          [&](const Symbol& a, const Symbol& b, Candidate<int32_t>& candidate) {
                            const MergeTable::Rule* rule = merges_.Find(a.value, b.value);
                            if (rule == nullptr) return false;
                            candidate.priority = -rule->rank;
                            candidate.value = rule->result;
                            return true;
                          });
    for (const Symbol& symbol : symbols) {
      if (symbol.size != 0) Emit(word.substr(symbol.begin, symbol.size), symbol.value, out);
    }
  }

  // A symbol that is no token falls back to byte tokens.
  void Emit(std::string_view text, int32_t symbol, std::vector<TokenId>& out) const {
    if (const TokenId id = tokens_[static_cast<size_t>(symbol)]; id >= 0) return out.push_back(id);
    for (const char c : text) {
      const TokenId byte = tokens_[static_cast<size_t>(byte_symbols_[static_cast<uint8_t>(c)])];
      if (byte >= 0) {
        out.push_back(byte);
      } else if (vocabulary().unknown >= 0) {
        out.push_back(vocabulary().unknown);
      }
    }
  }

  ByteAlphabet alphabet_;
  MergeTable merges_;
  std::unique_ptr<const PreTokenizer> words_;
  std::array<int32_t, 256> byte_symbols_;
  std::vector<TokenId> tokens_;  // of every symbol
};

Result<MergeTable> ReadMerges(const Gguf& gguf) {
  const auto lines = gguf.GetStrings("tokenizer.ggml.merges");
  if (!lines)
    return Fail(ErrorCode::kCorrupt, "the vocabulary is damaged: {}", lines.error().message);
  if (lines->size() > kMaxMerges)
    return Fail(ErrorCode::kCorrupt, "a vocabulary of {} merges", lines->size());
  MergeTable merges;
  for (size_t i = 0; i < lines->size(); ++i) TRY(merges.Add((*lines)[i], static_cast<int32_t>(i)));
  return merges;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeBpeTokenizer(const Gguf& gguf) {
  const std::string name = gguf.GetString("tokenizer.ggml.pre").value_or("");
  BpeParts parts;
  parts.words = TRY(PreTokenizer::Create(name));
  parts.vocabulary = TRY(Vocabulary::Load(gguf, VocabularyKind::kByteLevel));
  if (parts.words->adds_bos() && gguf.Find("tokenizer.ggml.add_bos_token") == nullptr) {
    parts.vocabulary.add_bos = parts.vocabulary.bos >= 0;
  }
  parts.merges = TRY(ReadMerges(gguf));
  return std::make_shared<const BpeTokenizer>(std::move(parts));
}

}  // namespace exo::model
