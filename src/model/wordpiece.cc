// WordPiece ("bert"): each word of the normalized text by its longest tokens from the left. Words
// carry SentencePiece's mark in front, as converters write such vocabularies: tokens without it go
// on inside of a word ("##" in BERT's own files). Schuster & Nakajima 2012, Devlin et al. 2018.
#include <algorithm>

#include "model/bert_words.h"
#include "model/prefix_finder.h"
#include "model/space_mark.h"
#include "model/tokenizer_base.h"

namespace exo::model {
namespace {

uint64_t CountCharacters(std::string_view word) {
  return static_cast<uint64_t>(
      std::ranges::count_if(word, [](char c) { return (c & 0xc0) != 0x80; }));
}

class WordPieceTokenizer final : public TokenizerBase {
 public:
  WordPieceTokenizer(Vocabulary loaded, const BertRules& rules)
      : TokenizerBase(std::move(loaded)), rules_(rules) {
    bytes_.reserve(vocabulary().size());
    for (size_t i = 0; i < vocabulary().size(); ++i) {
      const std::string& text = vocabulary().texts[i];
      const auto id = static_cast<TokenId>(i);
      bytes_.push_back(UnmarkSpaces(text));
      // The last of equal texts counts; what a user writes is never a control token.
      if (vocabulary().Find(text) == id && !IsControl(id)) pieces_.Add(text, id);
    }
    pieces_.Finish();
  }

 private:
  void EncodeText(std::string_view text, bool, std::vector<TokenId>& out) const override {
    SplitBertWords(text, rules_, [&](std::string_view word) { EncodeWord(word, out); });
  }

  // A word that tokens do not cover to its end is unknown as a whole.
  void EncodeWord(std::string_view word, std::vector<TokenId>& out) const {
    const size_t before = out.size();
    const bool too_long = CountCharacters(word) > rules_.longest_word;
    if (!too_long && AppendPieces(std::string(kSpaceMark).append(word), out)) return;
    out.resize(before);
    if (vocabulary().unknown >= 0) out.push_back(vocabulary().unknown);
  }

  bool AppendPieces(std::string_view marked, std::vector<TokenId>& out) const {
    while (!marked.empty()) {
      size_t longest = 0;
      TokenId token = -1;
      pieces_.Each(marked, [&](size_t length, TokenId id) {
        longest = length;
        token = id;
      });
      if (token < 0) return false;
      out.push_back(token);
      marked.remove_prefix(longest);
    }
    return true;
  }

  const BertRules rules_;
  PrefixFinder pieces_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakeWordPieceTokenizer(const Gguf& gguf) {
  return std::make_shared<const WordPieceTokenizer>(
      TRY(Vocabulary::Load(gguf, VocabularyKind::kWordPiece)), BertRules::Read(gguf));
}

}  // namespace exo::model
