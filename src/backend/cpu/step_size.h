// How much work a step of a stage is, where its time tells the speed of the device: one row that
// reads weights past the caches, or many rows of a short context.
//
// Thread: pure, any thread.
#pragma once

#include <span>

#include "backend/backend.h"
#include "kernels/kernels.h"

namespace exo::backend {

class StepSize {
 public:
  StepSize(const kernels::Kernels& kernels, const StageSpec& spec);
  // Of the layers. Nothing, where the time tells something else: of few rows, of a stage whose
  // weights the caches hold, of a long prompt (attention), of a shard (it waits for the others).
  WorkDone OfLayers(std::span<const Segment> segments) const;
  // Of the output matrix; likewise.
  WorkDone OfOutput(size_t rows) const;

 private:
  uint64_t layer_bytes_ = 0;  // read for one row; 0: times tell nothing
  uint64_t output_bytes_ = 0;
  uint64_t kv_bytes_ = 0;  // of a position, in layers that attend to all
  uint64_t windowed_kv_bytes_ = 0;
  uint32_t window_ = 0;
  double ops_per_row_ = 0;
};

}  // namespace exo::backend
