#include "backend/cpu/step_size.h"

#include <algorithm>

#include "backend/cpu/stage.h"
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
  if (spec.lead) {
    const model::TensorRef& output = spec.tensors->output;
    const uint64_t bytes = kernels.PackedBytes(output.type, output.rows, output.cols);
    if (bytes >= kPastCaches) output_ = {output.type, static_cast<double>(bytes), 0};
  }
  double read = 0;
  std::vector<FormatWork> works;
  for (uint32_t i = spec.layer_begin; i < spec.layer_end; ++i) {
    for (const model::TensorRef* tensor : spec.tensors->layers[i].All()) {
      if (tensor->vector) continue;
      const auto used = static_cast<double>(tensor->count_read(spec.config->experts.used));
      const auto bytes =
          static_cast<double>(kernels.PackedBytes(tensor->type, tensor->rows, tensor->cols));
      const auto values = static_cast<double>(tensor->rows * tensor->cols);
      AddTo(works, {tensor->type, used * bytes, 2 * used * values});
      read += used * bytes;
    }
  }
  if (read < static_cast<double>(kPastCaches)) return;
  works_ = std::move(works);
  layers_ = spec.layer_end - spec.layer_begin;
  kv_bytes_ = KvBytesPerPosition(spec, /*windowed=*/false);
  windowed_kv_bytes_ = KvBytesPerPosition(spec, /*windowed=*/true);
  window_ = spec.config->window;
}

void StepSize::AddTo(std::vector<FormatWork>& works, const FormatWork& more) {
  const auto at = std::ranges::find(works, more.type, &FormatWork::type);
  if (at == works.end()) {
    works.push_back(more);
    return;
  }
  at->bytes += more.bytes;
  at->ops += more.ops;
}

WorkDone StepSize::OfLayers(std::span<const Segment> segments, const WorkCosts& costs) const {
  if (works_.empty()) return {};
  size_t rows = 0;
  uint32_t positions = 0;
  for (const Segment& segment : segments) {
    rows += segment.count;
    positions = std::max(positions, segment.first + segment.count);
  }
  if (rows == 1) {
    const uint64_t kv = kv_bytes_ * positions + windowed_kv_bytes_ * std::min(positions, window_);
    double bytes = static_cast<double>(kv) + layers_ * costs.layer_bytes;
    for (const FormatWork& work : works_) bytes += work.bytes * costs.Of(work.type).decode;
    return {.decode_bytes = bytes};
  }
  if (rows < kManyRows || positions > kShortPrompt) return {};
  double ops = 0;
  for (const FormatWork& work : works_) ops += work.ops * costs.Of(work.type).prefill;
  return {.prefill_ops = ops * static_cast<double>(rows)};
}

WorkDone StepSize::OfOutput(size_t rows, const WorkCosts& costs) const {
  if (rows != 1) return {};
  return {.decode_bytes = output_.bytes * costs.Of(output_.type).decode};
}

}  // namespace exo::backend
