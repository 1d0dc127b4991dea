// A batch on the CPU: checked by Run, computed in Wait on the caller's thread and the pool.
#include <algorithm>
#include <bit>
#include <cstring>

#include "backend/cpu/stage.h"
#include "base/check.h"
#include "kernels/elementary.h"
#include "kernels/float_mode.h"

namespace exo::backend {
namespace {

// Query positions of one attention item: few enough that all threads have work in a short prompt,
// many enough that a tile's keys and values are read from memory once for all of them.
constexpr uint32_t kQueryTile = 16;

// A row with inf or NaN becomes all NaN, of one bit pattern: it is sent on like any other, poisons
// every logit of its request and of no other, and the sampler ends that request
// (docs/arithmetic.md, rule 4).
void PoisonRow(std::span<float> row) {
  uint32_t worst = 0;
  for (const float value : row)
    worst = std::max(worst, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  if (worst >= 0x7f800000) std::fill(row.begin(), row.end(), std::bit_cast<float>(0x7fc00000u));
}

}  // namespace

class CpuRunning final : public Running {
 public:
  CpuRunning(CpuStage& stage, const Batch& batch) : stage_(stage), batch_(batch) {}

  Result<std::span<const float>> Wait() override {
    const auto rows = TRY(stage_.Compute(batch_));
    TRY(stage_.CheckWeights());
    return rows;
  }
  Result<std::span<float>> Logits(size_t first, size_t count, uint32_t best) override {
    CHECK(batch_.wanted == Wanted::kLogits);
    CHECK_LE(first + count, batch_.output_rows.size());
    const auto logits = TRY(stage_.Logits(first, count, best));
    TRY(stage_.CheckWeights());
    return logits;
  }
  Result<std::span<const float>> States(size_t first, size_t count) override {
    CHECK(batch_.wanted == Wanted::kLogits);
    CHECK_LE(first + count, batch_.output_rows.size());
    const auto states = stage_.States(first, count);
    TRY(stage_.CheckWeights());
    return states;
  }

 private:
  CpuStage& stage_;
  const Batch batch_;
};

Result<std::unique_ptr<Running>> CpuStage::Run(const Batch& batch) {
  TRY(Check(batch));
  TRY(Reserve(batch.segments));
  if (resident_ != nullptr) resident_->Adopt();
  return std::make_unique<CpuRunning>(*this, batch);
}

Result<void> CpuStage::CheckWeights() const {
  if (weights_.broken == nullptr || !weights_.broken->load()) return {};
  // Loaded again it computes from what is whole: requests may wait for that.
  return Fail(ErrorCode::kDisconnected,
              "the prepared file of the model was cut off or cannot be read any more while it was "
              "in use: the model is loaded again without it; run exo prepare again");
}

Result<void> CpuStage::Check(const Batch& batch) const {
  const size_t width = config_.width;
  CHECK(batch.tokens.empty() || batch.hidden.empty());
  CHECK(spec_.lead || batch.tokens.empty());
  CHECK(HasOutput(spec_) || batch.wanted != Wanted::kLogits);
  CHECK_EQ(batch.hidden.size() % width, 0u);
  CHECK(batch.segments.empty() || sharded() == (batch.collective != nullptr));
  const size_t rows = batch.tokens.size() + batch.hidden.size() / width;
  if (rows > spec_.chunk) {
    return Fail(ErrorCode::kInvalid, "a step of {} rows (limit {})", rows, spec_.chunk);
  }
  if (!batch.segments.empty()) TRY(CheckSegments(batch.segments, rows));
  for (const uint32_t row : batch.output_rows) {
    if (row >= rows) return Fail(ErrorCode::kInvalid, "output row {} of {}", row, rows);
  }
  if (batch.output_rows.size() > rows) {
    return Fail(ErrorCode::kInvalid, "{} output rows of {}", batch.output_rows.size(), rows);
  }
  for (const TokenId token : batch.tokens) {
    if (token < 0 || static_cast<uint32_t>(token) >= config_.vocab) {
      return Fail(ErrorCode::kInvalid, "token {} is outside the vocabulary of {}", token,
                  config_.vocab);
    }
  }
  return {};
}

Result<void> CpuStage::CheckSegments(std::span<const Segment> segments, size_t rows) const {
  size_t total = 0;
  for (const Segment& segment : segments) {
    const auto found = sequences_.find(segment.sequence);
    if (found == sequences_.end()) {
      return Fail(ErrorCode::kInvalid, "sequence {} is not open", segment.sequence);
    }
    const Sequence& sequence = found->second;
    if (segment.count == 0 || segment.first > sequence.length ||
        uint64_t{segment.first} + segment.count > sequence.capacity) {
      return Fail(ErrorCode::kInvalid,
                  "positions {}+{} do not continue sequence {} of {} positions and room for {}",
                  segment.first, segment.count, segment.sequence, sequence.length,
                  sequence.capacity);
    }
    if (!sequence.windowed_kv.Reaches(segment.first))
      return WindowGone(segment.sequence, segment.first);
    total += segment.count;
  }
  if (total != rows) {
    return Fail(ErrorCode::kInvalid, "a step of {} rows with segments of {}", rows, total);
  }
  return {};
}

Result<std::span<const float>> CpuStage::Compute(const Batch& batch) {
  kernels::SetFloatMode();
  cancel_ = batch.cancel;
  collective_ = batch.collective;
  const size_t width = config_.width;
  const size_t rows = batch.tokens.size() + batch.hidden.size() / width;
  const std::span<float> hidden(At(Scratch::kHidden), rows * width);
  if (batch.tokens.empty()) {
    std::copy(batch.hidden.begin(), batch.hidden.end(), hidden.begin());
  } else {
    Embed(batch.tokens, hidden);
  }
  if (!batch.segments.empty()) TRY(RunLayers(batch.segments, hidden));
  if (batch.wanted == Wanted::kHidden) return hidden;
  TakeOutputs(batch.output_rows);
  if (batch.wanted == Wanted::kLogits) return std::span<const float>{};
  return std::span<const float>(At(Scratch::kOutput), batch.output_rows.size() * width);
}

// hidden[i] = embedding of tokens[i].
void CpuStage::Embed(std::span<const TokenId> tokens, std::span<float> hidden) const {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::span<float> row = hidden.subspan(i * config_.width, config_.width);
    kernels_.UnpackRow(weights_.embedding.weights, static_cast<size_t>(tokens[i]), row.data());
    if (config_.embedding_scale == 1) continue;
    for (float& value : row) value = value * config_.embedding_scale;
  }
}

// Positions, angles and query tiles of the rows: the same for every layer.
void CpuStage::PlaceRows(std::span<const Segment> segments) {
  row_sequence_.clear();
  row_position_.clear();
  tiles_.clear();
  for (const Segment& segment : segments) {
    const Sequence& sequence = sequences_.at(segment.sequence);
    for (uint32_t i = 0; i < segment.count; i += kQueryTile) {
      tiles_.push_back({.sequence = &sequence,
                        .row = row_sequence_.size() + i,
                        .first = segment.first + i,
                        .count = std::min(kQueryTile, segment.count - i)});
    }
    for (uint32_t i = 0; i < segment.count; ++i) {
      row_sequence_.push_back(&sequence);
      row_position_.push_back(segment.first + i);
    }
  }
  PlaceAdapters();
  const size_t half = config_.rotary_dim / 2;
  for (size_t row = 0; row < row_position_.size(); ++row) {
    kernels::RopeAngles(rope_frequencies_, row_position_[row], At(Scratch::kCos) + row * half,
                        At(Scratch::kSin) + row * half);
    if (config_.window == 0) continue;
    kernels::RopeAngles(window_rope_frequencies_, row_position_[row],
                        At(Scratch::kWindowCos) + row * half, At(Scratch::kWindowSin) + row * half);
  }
}

Result<void> CpuStage::RunLayers(std::span<const Segment> segments, std::span<float> hidden) {
  SpeedMeter::Work work(meter_);
  const size_t rows = hidden.size() / config_.width;
  PlaceRows(segments);
  for (const Segment& segment : segments) {
    Sequence& sequence = sequences_.at(segment.sequence);
    sequence.length = segment.first + segment.count;
    sequence.defined = std::min(sequence.defined, segment.first);
  }
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    if (stream_ != nullptr) TRY(stream_->Acquire(layer, cancel_));
    TRY(AttentionBlock(layer, rows, hidden.data()));
    TRY(FeedForwardBlock(weights_.layers[layer], rows, hidden.data()));
    if (stream_ != nullptr) stream_->Release();
    if (cancelled()) return Fail(ErrorCode::kCancelled, "the step was canceled");
  }
  for (size_t row = 0; row < rows; ++row)
    PoisonRow(hidden.subspan(row * config_.width, config_.width));
  for (const Segment& segment : segments) {
    // Behind undefined positions everything is undefined.
    Sequence& sequence = sequences_.at(segment.sequence);
    if (sequence.defined == segment.first) sequence.defined = sequence.length;
  }
  // The time of a disk says nothing about the device's own speed.
  if (spec_.streamed.layers.empty()) work.Done(size_.OfLayers(segments, *meter_.costs()));
  return {};
}

void CpuStage::TakeOutputs(std::span<const uint32_t> rows) {
  const size_t width = config_.width;
  float* output = At(Scratch::kOutput);
  for (const uint32_t row : rows) {
    std::memcpy(output, At(Scratch::kHidden) + row * width, width * sizeof(float));
    output += width;
  }
}

void CpuStage::MultiplyOutput(size_t first, size_t count, float* out) {
  SpeedMeter::Work work(meter_);
  const kernels::Weights matrix = OutputMatrix();
  const std::array product = {Of(matrix, count, out)};
  NormPrepare(product, At(Scratch::kOutput) + first * config_.width, weights_.output_norm, count);
  MatMul(product);
  work.Done(size_.OfOutput(count, *meter_.costs()));
}

Result<std::span<float>> CpuStage::Logits(size_t first, size_t count, uint32_t best) {
  CHECK_LE(count, kLogitRows);
  cancel_ = nullptr;
  if (sharded()) return ShardLogits(first, count, best);
  const std::span<float> logits = logits_.As<float>().first(count * config_.vocab);
  MultiplyOutput(first, count, logits.data());
  return logits;
}

std::span<const float> CpuStage::States(size_t first, size_t count) {
  CHECK_LE(count, kLogitRows);
  const size_t width = config_.width;
  const std::span<float> states = logits_.As<float>().first(count * width);
  for (size_t row = 0; row < count; ++row) {
    kernels_.RmsNorm(At(Scratch::kOutput) + (first + row) * width, weights_.output_norm.data(),
                     config_.norm_eps, width, states.data() + row * width);
  }
  return states;
}

}  // namespace exo::backend
