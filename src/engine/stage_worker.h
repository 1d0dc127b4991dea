// Applies the StageMachine's decisions to a StageCompute: every stage runs its layers through this,
// the lead's own included.
//
// Thread: the stage thread.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/cancellation_set.h"
#include "engine/stage.h"
#include "wire/messages.h"

namespace exo::engine {

class StageWorker {
 public:
  StageWorker(const wire::Plan& plan, backend::StageCompute& compute, CancellationSet& cancelled);

  // Runs the layers over `hidden` [rows][width] in place. The compute of a step
  // whose requests are all cancelled stops early; its rows are zeros then.
  // Errors: kNotFound (foreign plan: drop the frame); anything else fails the instance.
  Result<void> Run(const wire::Step& step, std::span<float> hidden, uint32_t width);
  // Rows that go back to the lead, of the last Run.
  const std::vector<uint32_t>& output_rows() const { return work_.output_rows; }
  bool was_duplicate() const { return work_.duplicate; }

 private:
  StageMachine machine_;
  backend::StageCompute& compute_;
  CancellationSet& cancelled_;
  StageWork work_;
};

}  // namespace exo::engine
