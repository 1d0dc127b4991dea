#include "backend/cpu/step_size.h"

#include <algorithm>

#include "backend/cpu/stage.h"
#include "backend/cpu/weights.h"
#include "base/units.h"

namespace exo::backend {
namespace {

// More than what a last-level cache keeps from one token to the next.
constexpr uint64_t kPastCaches = 64 * kMiB;
// Products of so many rows are at their full speed.
constexpr size_t kManyRows = 64;
// Up to here attention is a small part of a prompt's work.
constexpr uint32_t kShortPrompt = 2048;

}  // namespace

StepSize::StepSize(const kernels::Kernels& kernels, const StageSpec& spec) {
  if (spec.shard) return;
  StageSpec layers = spec;
  layers.lead = false;
  const uint64_t read = ReadBytes(kernels, layers);
  if (spec.lead) {
    const model::TensorRef& output = spec.tensors->output;
    const uint64_t bytes = kernels.PackedBytes(output.type, output.rows, output.cols);
    if (bytes >= kPastCaches) output_bytes_ = bytes;
  }
  if (read < kPastCaches) return;
  layer_bytes_ = read;
  kv_bytes_ = KvBytesPerPosition(spec, /*windowed=*/false);
  windowed_kv_bytes_ = KvBytesPerPosition(spec, /*windowed=*/true);
  window_ = spec.config->window;
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    ops_per_row_ +=
        static_cast<double>(spec.tensors->layers[i].OpsPerRow(spec.config->experts.used));
  }
}

WorkDone StepSize::OfLayers(std::span<const Segment> segments) const {
  if (layer_bytes_ == 0) return {};
  size_t rows = 0;
  uint32_t positions = 0;
  for (const Segment& segment : segments) {
    rows += segment.count;
    positions = std::max(positions, segment.first + segment.count);
  }
  if (rows == 1) {
    const uint64_t kv = kv_bytes_ * positions + windowed_kv_bytes_ * std::min(positions, window_);
    return {.decode_bytes = static_cast<double>(layer_bytes_ + kv)};
  }
  if (rows < kManyRows || positions > kShortPrompt) return {};
  return {.prefill_ops = ops_per_row_ * static_cast<double>(rows)};
}

WorkDone StepSize::OfOutput(size_t rows) const {
  if (rows != 1) return {};
  return {.decode_bytes = static_cast<double>(output_bytes_)};
}

}  // namespace exo::backend
