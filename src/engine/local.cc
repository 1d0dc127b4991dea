#include "engine/local.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace exo::engine {

Result<std::unique_ptr<LocalModel>> LocalModel::Load(
    backend::Backend& backend, std::shared_ptr<const model::ModelConfig> config,
    std::shared_ptr<const model::ModelTensors> tensors, backend::TensorSource& source,
    const LocalOptions& options) {
  auto model = std::make_unique<LocalModel>();
  model->config_ = config;
  model->chunk_ = options.chunk;
  model->codec_ = options.codec;
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
                                     .chunk = options.chunk,
                                     .adapters = options.adapters};
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

Result<void> LocalModel::Open(backend::SequenceId sequence, uint32_t capacity,
                              std::span<const backend::AdapterUse> adapters) {
  for (const auto& stage : stages_) TRY(stage->Open(sequence, capacity, adapters));
  return {};
}

void LocalModel::Close(backend::SequenceId sequence) {
  for (const auto& stage : stages_) stage->Close(sequence);
}

Result<void> LocalModel::Fork(backend::SequenceId from, uint32_t length,
                              backend::SequenceId sequence, uint32_t capacity) {
  for (const auto& stage : stages_) TRY(stage->Fork(from, length, sequence, capacity));
  return {};
}

Result<void> LocalModel::Truncate(backend::SequenceId sequence, uint32_t length) {
  for (const auto& stage : stages_) TRY(stage->Truncate(sequence, length));
  return {};
}

Result<std::span<const float>> LocalModel::OverWire(std::span<const float> rows,
                                                    std::vector<float>& arrived) const {
  if (codec_ == tensor::RowCodec::kF32 || stages_.size() == 1) return rows;
  const size_t width = config_->width;
  std::vector<std::byte> coded(rows.size() / width * tensor::CodedRowBytes(codec_, width));
  tensor::CodeRows(codec_, width, rows, coded);
  arrived.resize(rows.size());
  TRY(tensor::DecodeRows(codec_, width, coded, arrived));
  return arrived;
}

// As a cluster does: the stages one after the other, then the lead turns the output rows into
// logits; alone, it does so without giving them out.
Result<void> LocalModel::Run(backend::Batch batch, std::span<float> logits) {
  using backend::Wanted;
  std::unique_ptr<backend::Running> running;
  std::vector<float> arrived;
  const std::span<const uint32_t> outputs = batch.output_rows;
  for (size_t i = 0; i < stages_.size(); ++i) {
    const bool last = i + 1 == stages_.size();
    batch.wanted = !last ? Wanted::kHidden : i == 0 ? Wanted::kLogits : Wanted::kOutput;
    running = TRY(stages_[i]->Run(batch));
    batch.tokens = {};
    batch.hidden = TRY(OverWire(TRY(running->Wait()), arrived));
  }
  std::vector<uint32_t> all(outputs.size());
  std::iota(all.begin(), all.end(), 0u);
  if (stages_.size() > 1) {
    running = TRY(
        stages_[0]->Run({.hidden = batch.hidden, .output_rows = all, .wanted = Wanted::kLogits}));
    TRY(running->Wait());
  }
  for (size_t first = 0; first < outputs.size(); first += backend::kLogitRows) {
    const size_t count = std::min(backend::kLogitRows, outputs.size() - first);
    const std::span<const float> rows = TRY(running->Logits(first, count, backend::kAllLogits));
    std::ranges::copy(rows, logits.begin() + static_cast<ptrdiff_t>(first * config_->vocab));
  }
  return {};
}

Result<void> LocalModel::Append(backend::SequenceId sequence, uint32_t first,
                                std::span<const TokenId> tokens, size_t outputs,
                                std::span<float> logits) {
  CHECK_LE(outputs, tokens.size());
  CHECK_EQ(logits.size(), outputs * config_->vocab);
  const size_t first_output = tokens.size() - outputs;
  for (size_t at = 0; at < tokens.size(); at += chunk_) {
    const size_t count = std::min<size_t>(chunk_, tokens.size() - at);
    const backend::Segment segment = {.sequence = sequence,
                                      .first = static_cast<uint32_t>(first + at),
                                      .count = static_cast<uint32_t>(count)};
    const size_t skip = std::min(count, first_output > at ? first_output - at : 0);
    std::vector<uint32_t> rows(count - skip);
    std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(skip));
    const size_t row = at + skip - std::min(first_output, at + skip);
    TRY(Run({.segments = std::span(&segment, 1),
             .tokens = tokens.subspan(at, count),
             .output_rows = rows},
            logits.subspan(row * config_->vocab, rows.size() * config_->vocab)));
  }
  return {};
}

Result<void> LocalModel::Step(std::span<const Next> next, std::span<float> logits) {
  std::vector<TokenId> tokens;
  std::vector<backend::Segment> segments;
  std::vector<uint32_t> rows;
  for (const Next& item : next) {
    rows.push_back(static_cast<uint32_t>(rows.size()));
    tokens.push_back(item.token);
    segments.push_back({.sequence = item.sequence, .first = item.position, .count = 1});
  }
  return Run({.segments = segments, .tokens = tokens, .output_rows = rows}, logits);
}

}  // namespace exo::engine
