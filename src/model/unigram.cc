// Unigram ("t5"): the most probable way to cut a normalized text into tokens, by Viterbi's
// algorithm over their log probabilities. Kudo 2018.
#include <algorithm>
#include <array>
#include <limits>

#include "model/charsmap.h"
#include "model/prefix_finder.h"
#include "model/space_mark.h"
#include "model/tokenizer_base.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

// How much less probable than the least probable token an unknown character is (SentencePiece).
constexpr float kUnknownPenalty = 10;

struct UnigramParts {
  Vocabulary vocabulary;
  Charsmap charsmap;
  bool merges_spaces = false;  // runs of spaces count as one, those at the ends as none
};

class UnigramTokenizer final : public TokenizerBase {
 public:
  explicit UnigramTokenizer(UnigramParts parts)
      : TokenizerBase(std::move(parts.vocabulary)),
        charsmap_(std::move(parts.charsmap)),
        merges_spaces_(parts.merges_spaces) {
    byte_tokens_.fill(-1);
    float least = std::numeric_limits<float>::max();
    for (size_t i = 0; i < vocabulary().size(); ++i) {
      const std::string& text = vocabulary().texts[i];
      const TokenType type = vocabulary().types[i];
      const int byte = type == TokenType::kByte ? ByteOfToken(text) : -1;
      if (byte >= 0) byte_tokens_[static_cast<size_t>(byte)] = static_cast<TokenId>(i);
      bytes_.push_back(byte >= 0 ? std::string(1, static_cast<char>(byte)) : UnmarkSpaces(text));
      if (type == TokenType::kNormal) least = std::min(least, vocabulary().scores[i]);
      if (!text.empty() && (type == TokenType::kNormal || type == TokenType::kUnused))
        tokens_.Add(text, static_cast<TokenId>(i));
    }
    tokens_.Finish();
    unknown_score_ = least - kUnknownPenalty;
  }

 private:
  // The best way to a place in the text: its last token and where that begins.
  struct Step {
    double score = -std::numeric_limits<double>::infinity();
    size_t begin = 0;
    TokenId token = -1;  // none: a character that no token covers
  };

  void EncodeText(std::string_view text, bool, std::vector<TokenId>& out) const override {
    const std::string normal = MarkSpaces(charsmap_.Normalize(text));
    std::vector<Step> best(normal.size() + 1);
    best[0].score = 0;
    const auto offer = [&](size_t begin, size_t end, double score, TokenId token) {
      const double sum = best[begin].score + score;
      if (sum > best[end].score) best[end] = {.score = sum, .begin = begin, .token = token};
    };
    for (size_t at = 0; at < normal.size();) {
      const size_t size = std::max<size_t>(1, Utf8Length(normal, at));
      bool covered = false;
      tokens_.Each(std::string_view(normal).substr(at), [&](size_t length, TokenId id) {
        covered = covered || length == size;
        offer(at, at + length, vocabulary().scores[static_cast<size_t>(id)], id);
      });
      if (!covered) offer(at, at + size, unknown_score_, -1);
      at += size;
    }
    Emit(normal, best, out);
  }

  // From the end to the start, then turned around; neighboring unknown characters are one token.
  void Emit(std::string_view text, const std::vector<Step>& best, std::vector<TokenId>& out) const {
    const auto start = static_cast<std::ptrdiff_t>(out.size());
    bool unknown = false;
    for (size_t end = text.size(); end > 0; end = best[end].begin) {
      const Step& step = best[end];
      if (step.token >= 0) {
        out.push_back(step.token);
      } else if (!AppendBytes(text.substr(step.begin, end - step.begin), out) && !unknown &&
                 vocabulary().unknown >= 0) {
        out.push_back(vocabulary().unknown);
      }
      unknown = step.token < 0;
    }
    std::reverse(out.begin() + start, out.end());
  }

  // The byte tokens of a character, last first; false when the vocabulary lacks one.
  bool AppendBytes(std::string_view character, std::vector<TokenId>& out) const {
    const auto token = [&](char c) { return byte_tokens_[static_cast<uint8_t>(c)]; };
    if (std::ranges::any_of(character, [&](char c) { return token(c) < 0; })) return false;
    for (size_t i = character.size(); i-- > 0;) out.push_back(token(character[i]));
    return true;
  }

  // Spaces as marks, with one in front of the text where the vocabulary wants it.
  std::string MarkSpaces(std::string_view text) const {
    std::string out;
    bool in_word = false, prefixed = false;
    for (const char c : text) {
      if (c == ' ') {
        in_word = false;
        if (!merges_spaces_) out += kSpaceMark;
        continue;
      }
      if (!in_word && (merges_spaces_ || (vocabulary().add_space_prefix && !prefixed))) {
        out += kSpaceMark;
        prefixed = true;
      }
      in_word = true;
      out += c;
    }
    return out;
  }

  const Charsmap charsmap_;
  const bool merges_spaces_;
  std::array<TokenId, 256> byte_tokens_;
  PrefixFinder tokens_;
  float unknown_score_ = 0;
};

Result<Charsmap> ReadCharsmap(const Gguf& gguf) {
  constexpr std::string_view kKey = "tokenizer.ggml.precompiled_charsmap";
  const GgufValue* value = gguf.Find(kKey);
  if (value == nullptr) return Charsmap();
  const auto* array = std::get_if<GgufArray>(value);
  const bool bytes = array != nullptr && array->bytes.size() == array->count;
  if (!bytes) return Fail(ErrorCode::kCorrupt, "the key '{}' is no array of bytes", kKey);
  if (array->count == 0) return Charsmap();
  return Charsmap::Parse(array->bytes);
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeUnigramTokenizer(const Gguf& gguf) {
  UnigramParts parts;
  parts.charsmap = TRY(ReadCharsmap(gguf));
  parts.vocabulary = TRY(Vocabulary::Load(gguf, VocabularyKind::kUnigram));
  parts.merges_spaces = gguf.GetBool("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
  return std::make_shared<const UnigramTokenizer>(std::move(parts));
}

}  // namespace exo::model
