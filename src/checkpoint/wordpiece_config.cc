#include "checkpoint/wordpiece_config.h"

#include <vector>

#include "checkpoint/tokenizer_steps.h"
#include "model/bert_words.h"
#include "model/space_mark.h"

namespace exo::checkpoint {
namespace {

using model::TokenType;

std::unexpected<Error> UnknownBertStep(const Fields& tokenizer, std::string_view found,
                                       std::string_view known) {
  return Fail(ErrorCode::kUnsupported,
              "{}: {} before a WordPiece vocabulary, where this build knows {}; take a GGUF file "
              "of the model",
              tokenizer.document(), found, known);
}

// No normalizer, or BERT's. One that is absent changes nothing.
Result<model::BertRules> ReadNormalizer(const Fields& tokenizer) {
  const std::vector<Fields> steps = TRY(StepsOf(tokenizer, "normalizer"));
  model::BertRules rules{.lowercase = false,
                         .strip_accents = false,
                         .clean_text = false,
                         .handle_chinese_chars = false};
  for (const Fields& step : steps) {
    const std::string type = TRY(step.Text("type"));
    if (type != "BertNormalizer" || steps.size() > 1) {
      return UnknownBertStep(tokenizer, "the normalizer " + type, "one BertNormalizer alone");
    }
    rules.lowercase = TRY(step.Bool("lowercase", true));
    rules.strip_accents = TRY(step.Bool("strip_accents", rules.lowercase));
    rules.clean_text = TRY(step.Bool("clean_text", true));
    rules.handle_chinese_chars = TRY(step.Bool("handle_chinese_chars", true));
  }
  return rules;
}

Result<void> CheckBertPreTokenizer(const Fields& tokenizer) {
  const std::vector<Fields> steps = TRY(StepsOf(tokenizer, "pre_tokenizer"));
  const std::string found =
      steps.empty() ? "no pre-tokenizer" : "the pre-tokenizer " + TRY(steps[0].Text("type"));
  if (steps.size() == 1 && found.ends_with(" BertPreTokenizer")) return {};
  return UnknownBertStep(tokenizer, steps.size() > 1 ? found + " with others" : found,
                         "one BertPreTokenizer");
}

// "##ing" goes on in a word; GGUF marks the others instead.
void MarkStarts(std::string_view goes_on, TokenTable& table) {
  for (size_t id = 0; id < table.texts.size(); ++id) {
    if (table.types[id] != static_cast<int32_t>(TokenType::kNormal)) continue;
    std::string& text = table.texts[id];
    if (text.size() > goes_on.size() && text.starts_with(goes_on)) {
      text.erase(0, goes_on.size());
    } else {
      text.insert(0, model::kSpaceMark);
    }
  }
}

}  // namespace

Result<void> WriteWordPiece(const Fields& tokenizer, TokenTable& table, Metadata& metadata) {
  const Fields model = *TRY(tokenizer.Object("model"));
  const model::BertRules rules = TRY(ReadNormalizer(tokenizer));
  TRY(CheckBertPreTokenizer(tokenizer));
  metadata.Text("tokenizer.ggml.model", "bert");
  metadata.Text("tokenizer.ggml.pre", model::kHuggingFaceBert);
  metadata.Bool("tokenizer.ggml.add_space_prefix", true);
  metadata.Bool("tokenizer.ggml.normalizer.lowercase", rules.lowercase);
  metadata.Bool("tokenizer.ggml.normalizer.strip_accents", rules.strip_accents);
  metadata.Bool("tokenizer.ggml.normalizer.clean_text", rules.clean_text);
  metadata.Bool("tokenizer.ggml.normalizer.handle_chinese_chars", rules.handle_chinese_chars);
  const uint64_t longest = TRY(model.Uint("max_input_chars_per_word", 100));
  if (longest == 0 || longest > model::kMaxWordCharacters) {
    return Fail(ErrorCode::kCorrupt, "{}: 'max_input_chars_per_word' is {} (1 to {})",
                model.document(), longest, model::kMaxWordCharacters);
  }
  metadata.Uint("tokenizer.ggml.max_input_chars_per_word", longest);
  const std::string unknown = TRY(model.Text("unk_token", std::string("[UNK]")));
  const auto id = table.Find(unknown);
  if (!id) {
    return Fail(ErrorCode::kCorrupt, "{}: the unk_token '{}' is no token", model.document(),
                unknown);
  }
  table.types[static_cast<size_t>(*id)] = static_cast<int32_t>(TokenType::kUnknown);
  metadata.Uint("tokenizer.ggml.unknown_token_id", static_cast<uint64_t>(*id));
  MarkStarts(TRY(model.Text("continuing_subword_prefix", std::string("##"))), table);
  return {};
}

}  // namespace exo::checkpoint
