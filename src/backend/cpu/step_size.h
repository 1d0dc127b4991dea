// How much work a step of a stage is, where its time tells the speed of the device: one row that
// reads weights past the caches, or many rows of a short context.
//
// Thread: pure, any thread.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "kernels/kernels.h"

namespace exo::backend {

class StepSize {
 public:
  StepSize(const kernels::Kernels& kernels, const StageSpec& spec);
  // Of the layers. Nothing, where the time tells something else: of few rows, of a stage whose
  // weights the caches hold, of a long prompt (attention), of a shard (it waits for the others).
  WorkDone OfLayers(std::span<const Segment> segments, const WorkCosts& costs) const;
  // Of the output matrix; likewise.
  WorkDone OfOutput(size_t rows, const WorkCosts& costs) const;

 private:
  // What one row needs of the weights of one format.
  struct FormatWork {
    tensor::DType type = tensor::DType::kF32;
    double bytes = 0;
    double ops = 0;
  };
  static void AddTo(std::vector<FormatWork>& works, const FormatWork& more);

  std::vector<FormatWork> works_;  // of all layers; empty: times tell nothing
  FormatWork output_;              // without bytes: times tell nothing
  uint32_t layers_ = 0;
  uint64_t kv_bytes_ = 0;  // of a position, in layers that attend to all
  uint64_t windowed_kv_bytes_ = 0;
  uint32_t window_ = 0;
};

}  // namespace exo::backend
