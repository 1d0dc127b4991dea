#include "model/bert_words.h"

#include <algorithm>
#include <array>
#include <string>

#include "model/unicode.h"
#include "model/utf8.h"

namespace exo::model {
namespace {

constexpr char32_t kReplacement = 0xfffd;
// The one letter whose lower case is two characters: i with a dot above.
constexpr char32_t kDottedCapitalI = 0x130, kDotAbove = 0x307;

// The blocks that BERT's own code calls Chinese. One of them begins 256 too late in the library
// whose ids models were trained with, and so here.
bool IsIdeograph(char32_t code) {
  struct Block {
    char32_t first, last;
  };
  static constexpr auto kBlocks = std::to_array<Block>({{0x3400, 0x4dbf},
                                                        {0x4e00, 0x9fff},
                                                        {0xf900, 0xfaff},
                                                        {0x20000, 0x2a6df},
                                                        {0x2a700, 0x2b73f},
                                                        {0x2b740, 0x2b81f},
                                                        {0x2b920, 0x2ceaf},
                                                        {0x2f800, 0x2fa1f}});
  return std::ranges::any_of(
      kBlocks, [&](const Block& block) { return code >= block.first && code <= block.last; });
}

// All signs of ASCII count, those that Unicode calls symbols too.
bool IsCutAround(char32_t code) {
  if (code >= 0x80) return IsPunctuation(code);
  return code > 0x20 && code < 0x7f && !(code >= '0' && code <= '9') &&
         !((code | 0x20) >= 'a' && (code | 0x20) <= 'z');
}

// What clean text has none of.
bool IsNothing(char32_t code) {
  return code == 0 || code == kReplacement || IsControlCode(code);
}

class BertSplitter {
 public:
  BertSplitter(const BertRules& rules, const std::function<void(std::string_view)>& word)
      : rules_(rules), word_(word) {}

  void Add(char32_t code) {
    const bool line_or_tab = code == '\t' || code == '\n' || code == '\r';
    if (rules_.hugging_face && rules_.clean_text && !line_or_tab && IsNothing(code)) return;
    if (!rules_.strip_accents) return AddNormal(code);
    if (rules_.hugging_face) {
      unaccented_.clear();
      AppendWithoutAccents(code, unaccented_);
      for (const char32_t part : unaccented_) AddNormal(part);
    } else if (const char32_t head = DecompositionHead(code); !IsMark(head)) {
      AddNormal(head);
    }
  }

  void EndWord() {
    if (!current_.empty()) word_(current_);
    current_.clear();
  }

 private:
  void AddNormal(char32_t code) {
    if (IsWhiteSpace(code)) return EndWord();
    if (!rules_.hugging_face && IsNothing(code)) return;
    const bool alone = IsCutAround(code) || (rules_.handle_chinese_chars && IsIdeograph(code));
    if (alone) EndWord();
    Utf8Append(rules_.lowercase ? LowerCase(code) : code, current_);
    if (rules_.hugging_face && rules_.lowercase && code == kDottedCapitalI)
      Utf8Append(kDotAbove, current_);
    if (alone) EndWord();
  }

  const BertRules& rules_;
  const std::function<void(std::string_view)>& word_;
  std::string current_;
  std::u32string unaccented_;
};

}  // namespace

BertRules BertRules::Read(const Gguf& gguf) {
  BertRules rules;
  const auto flag = [&](std::string_view name, bool absent) {
    return gguf.GetBool(fmt::format("tokenizer.ggml.normalizer.{}", name)).value_or(absent);
  };
  rules.lowercase = flag("lowercase", true);
  rules.strip_accents = flag("strip_accents", rules.lowercase);
  rules.hugging_face = gguf.GetString("tokenizer.ggml.pre").value_or("") == kHuggingFaceBert;
  if (!rules.hugging_face) return rules;
  rules.clean_text = flag("clean_text", true);
  rules.handle_chinese_chars = flag("handle_chinese_chars", true);
  rules.longest_word =
      gguf.GetUint("tokenizer.ggml.max_input_chars_per_word").value_or(kMaxWordCharacters);
  return rules;
}

void SplitBertWords(std::string_view text, const BertRules& rules,
                    const std::function<void(std::string_view)>& word) {
  BertSplitter splitter(rules, word);
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text, at);
    if (length != 0) splitter.Add(Utf8Decode(text, at, length));
    at += std::max<size_t>(1, length);
  }
  splitter.EndWord();
}

}  // namespace exo::model
