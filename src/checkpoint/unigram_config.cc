#include "checkpoint/unigram_config.h"

#include <vector>

#include "checkpoint/tokenizer_steps.h"
#include "model/space_mark.h"

namespace exo::checkpoint {
namespace {

using model::TokenType;
using nlohmann::json;

// What a step of a unigram's normalizer or pre-tokenizer is to GGUF's keys.
struct UnigramSteps {
  bool merges_spaces = false;
  std::string charsmap;  // base64
};

Result<void> AddUnigramStep(const Fields& step, UnigramSteps& steps) {
  const std::string type = TRY(step.Text("type"));
  if (type == "Precompiled") {
    steps.charsmap = TRY(step.Text("precompiled_charsmap"));
    return {};
  }
  if (type == "WhitespaceSplit") {
    steps.merges_spaces = true;
    return {};
  }
  if (type == "Replace") {
    const auto pattern = TRY(step.Object("pattern"));
    const std::string from = pattern ? TRY(pattern->Text("Regex", std::string())) : std::string();
    if (from == " {2,}") steps.merges_spaces = true;
    if (from == " {2,}" || (pattern && TRY(pattern->Text("String", std::string())) == " "))
      return {};
  }
  if (type == "Metaspace" || type == "Prepend" || type == "Strip") return {};
  return Fail(
      ErrorCode::kUnsupported,
      "{}: a step of the kind {} before a unigram vocabulary; take a GGUF file of the model",
      step.document(), type);
}

Result<UnigramSteps> ReadUnigramSteps(const Fields& tokenizer) {
  UnigramSteps steps;
  for (const std::string_view key : {"normalizer", "pre_tokenizer"}) {
    for (const Fields& step : TRY(StepsOf(tokenizer, key))) TRY(AddUnigramStep(step, steps));
  }
  return steps;
}

Result<std::vector<uint8_t>> FromBase64(std::string_view text, std::string_view what) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0, count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos)
      return Fail(ErrorCode::kCorrupt, "{} is not base64: it has the byte {}", what,
                  static_cast<uint8_t>(c));
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<uint8_t>(bits >> count));
  }
  return bytes;
}

}  // namespace

Result<void> ReadPieces(const Fields& model, bool byte_fallback, TokenTable& table) {
  const json* list = model.Find("vocab");
  if (list == nullptr || !list->is_array())
    return Fail(ErrorCode::kCorrupt, "{} has no 'vocab' of pieces", model.document());
  for (const json& piece : *list) {
    const size_t id = table.texts.size();
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number())
      return Fail(ErrorCode::kCorrupt, "{}: piece {} is no text with a number", model.document(),
                  id);
    const std::string text = piece[0].get<std::string>();
    const bool byte = byte_fallback && model::ByteOfToken(text) >= 0;
    TRY(table.Put(model, id, text, byte ? TokenType::kByte : TokenType::kNormal));
    table.scores.push_back(piece[1].get<float>());
  }
  return {};
}

Result<void> WriteUnigram(const Fields& tokenizer, bool prepends_space, TokenTable& table,
                          Metadata& metadata) {
  const Fields model = *TRY(tokenizer.Object("model"));
  const UnigramSteps steps = TRY(ReadUnigramSteps(tokenizer));
  metadata.Text("tokenizer.ggml.model", "t5");
  metadata.Text("tokenizer.ggml.pre", "default");
  metadata.Bool("tokenizer.ggml.add_space_prefix", prepends_space);
  metadata.Bool("tokenizer.ggml.remove_extra_whitespaces", steps.merges_spaces);
  if (!steps.charsmap.empty()) {
    metadata.Numbers("tokenizer.ggml.precompiled_charsmap", model::ValueType::kU8,
                     TRY(FromBase64(steps.charsmap, "precompiled_charsmap")));
  }
  table.scores.resize(table.texts.size());
  const uint64_t unknown = TRY(model.Uint("unk_id", 0));
  if (unknown >= table.texts.size()) {
    return Fail(ErrorCode::kCorrupt, "{}: the unk_id {} of {} tokens", model.document(), unknown,
                table.texts.size());
  }
  table.types[unknown] = static_cast<int32_t>(TokenType::kUnknown);
  metadata.Uint("tokenizer.ggml.unknown_token_id", unknown);
  return {};
}

}  // namespace exo::checkpoint
