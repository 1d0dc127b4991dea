#include "engine/local.h"

#include <algorithm>

#include "base/check.h"

namespace exo::engine {

Result<std::unique_ptr<LocalModel>> LocalModel::Load(
    backend::Backend& backend, std::shared_ptr<const model::ModelConfig> config,
    std::shared_ptr<const model::ModelTensors> tensors, backend::TensorSource& source,
    const LocalOptions& options) {
  auto model = std::make_unique<LocalModel>();
  model->config_ = config;
  model->chunk_ = options.chunk;
  std::vector<uint32_t> cuts = options.cuts;
  cuts.push_back(config->layers);
  uint32_t begin = 0;
  for (const uint32_t end : cuts) {
    if (end < begin || end > config->layers) {
      return Fail(ErrorCode::kInvalid, "a cut at layer {} of {}", end, config->layers);
    }
    const backend::StageSpec spec = {.config = config,
                                     .tensors = tensors,
                                     .layer_begin = begin,
                                     .layer_end = end,
                                     .lead = model->stages_.empty(),
                                     .kv_type = options.kv_type,
                                     .chunk = options.chunk};
    model->stages_.push_back(TRY(backend.Load(spec, source, {}, nullptr)));
    begin = end;
  }
  return model;
}

uint64_t LocalModel::weights_bytes() const {
  uint64_t bytes = 0;
  for (const auto& stage : stages_) bytes += stage->weights_bytes();
  return bytes;
}

Result<void> LocalModel::Open(backend::SequenceId sequence, uint32_t capacity) {
  for (const auto& stage : stages_) TRY(stage->Open(sequence, capacity));
  return {};
}

void LocalModel::Close(backend::SequenceId sequence) {
  for (const auto& stage : stages_) stage->Close(sequence);
}

Result<void> LocalModel::Truncate(backend::SequenceId sequence, uint32_t length) {
  for (const auto& stage : stages_) TRY(stage->Truncate(sequence, length));
  return {};
}

Result<void> LocalModel::Forward(std::span<const backend::Segment> segments,
                                 std::span<float> hidden) {
  for (const auto& stage : stages_) TRY(stage->Forward(segments, hidden, nullptr));
  return {};
}

Result<void> LocalModel::Append(backend::SequenceId sequence, uint32_t first,
                                std::span<const TokenId> tokens, size_t outputs,
                                std::span<float> logits) {
  CHECK_LE(outputs, tokens.size());
  CHECK_EQ(logits.size(), outputs * config_->vocab);
  const size_t width = config_->width;
  const size_t first_output = tokens.size() - outputs;
  std::vector<float> hidden(std::min<size_t>(chunk_, tokens.size()) * width);
  for (size_t at = 0; at < tokens.size(); at += chunk_) {
    const size_t count = std::min<size_t>(chunk_, tokens.size() - at);
    const std::span<float> rows = std::span(hidden).first(count * width);
    TRY(stages_[0]->Embed(tokens.subspan(at, count), rows));
    const backend::Segment segment = {.sequence = sequence,
                                      .first = static_cast<uint32_t>(first + at),
                                      .count = static_cast<uint32_t>(count)};
    TRY(Forward(std::span(&segment, 1), rows));
    if (at + count <= first_output) continue;
    const size_t skip = first_output > at ? first_output - at : 0;
    const size_t row = at + skip - first_output;
    TRY(stages_[0]->Logits(rows.subspan(skip * width),
                           logits.subspan(row * config_->vocab, (count - skip) * config_->vocab),
                           nullptr));
  }
  return {};
}

Result<void> LocalModel::Step(std::span<const Next> next, std::span<float> logits) {
  std::vector<TokenId> tokens;
  std::vector<backend::Segment> segments;
  for (const Next& item : next) {
    tokens.push_back(item.token);
    segments.push_back({.sequence = item.sequence, .first = item.position, .count = 1});
  }
  std::vector<float> hidden(next.size() * config_->width);
  TRY(stages_[0]->Embed(tokens, hidden));
  TRY(Forward(segments, hidden));
  return stages_[0]->Logits(hidden, logits, nullptr);
}

}  // namespace exo::engine
