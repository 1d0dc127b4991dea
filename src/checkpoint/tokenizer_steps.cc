#include "checkpoint/tokenizer_steps.h"

#include <string>

#include "model/space_mark.h"

namespace exo::checkpoint {
namespace {

using nlohmann::json;

Result<void> AddSteps(const Fields& step, std::string_view list, std::vector<Fields>& steps) {
  const json* several = step.Find(list);
  if (several == nullptr) {
    steps.push_back(step);
    return {};
  }
  if (!several->is_array())
    return Fail(ErrorCode::kCorrupt, "{}: '{}' is no list", step.document(), list);
  for (const json& one : *several) {
    if (!one.is_object())
      return Fail(ErrorCode::kCorrupt, "{}: a step is no object", step.document());
    steps.emplace_back(one, step.document());
  }
  return {};
}

std::unexpected<Error> Unknown(const Fields& step, std::string_view type,
                               std::string_view vocabulary) {
  return Fail(
      ErrorCode::kUnsupported,
      "{}: a step of the kind {} that this build does not know before a {} vocabulary; take "
      "a GGUF file of the model",
      step.document(), type, vocabulary);
}

Result<bool> IsSentencePieceStep(const Fields& step, const std::string& type) {
  const std::string mark(model::kSpaceMark);
  if (type == "Prepend") return TRY(step.Text("prepend")) == mark;
  if (type == "Metaspace") return TRY(step.Text("replacement", mark)) == mark;
  if (type != "Replace" && type != "Split") return false;
  const auto pattern = TRY(step.Object("pattern"));
  if (!pattern || TRY(pattern->Text("String", std::string())) != " ") return false;
  if (type == "Replace") return TRY(step.Text("content")) == mark;
  // Behind a Replace there are no spaces to cut at.
  return TRY(step.Text("behavior")) == "MergedWithPrevious";
}

}  // namespace

Result<std::vector<Fields>> StepsOf(const Fields& tokenizer, std::string_view key) {
  std::vector<Fields> steps;
  const auto step = TRY(tokenizer.Object(key));
  if (step) TRY(AddSteps(*step, key == "normalizer" ? "normalizers" : "pretokenizers", steps));
  return steps;
}

Result<void> CheckSentencePieceSteps(const Fields& tokenizer) {
  for (const std::string_view key : {"normalizer", "pre_tokenizer"}) {
    for (const Fields& step : TRY(StepsOf(tokenizer, key))) {
      const std::string type = TRY(step.Text("type"));
      if (!TRY(IsSentencePieceStep(step, type))) return Unknown(step, type, "SentencePiece");
    }
  }
  return {};
}

Result<void> CheckByteLevelNormalizer(const Fields& tokenizer) {
  for (const Fields& step : TRY(StepsOf(tokenizer, "normalizer"))) {
    const std::string type = TRY(step.Text("type"));
    if (type != "NFC") return Unknown(step, type, "byte-level");
  }
  return {};
}

}  // namespace exo::checkpoint
