// Applies the StageMachine's decisions to a StageCompute: every stage runs its layers through this,
// the lead's own included.
//
// Thread: the stage thread.
#pragma once

#include <memory>
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

  // What a stage is given and asked for: tokens at the lead, elsewhere hidden [rows][width].
  struct Input {
    std::span<const TokenId> tokens;
    std::span<const float> hidden;
    backend::Wanted wanted = backend::Wanted::kHidden;
  };
  // Runs the layers. The compute of a step whose requests are all cancelled stops early; its rows
  // are zeros then.
  // Errors: kNotFound (foreign plan: drop the frame); anything else fails the instance.
  Result<void> Run(const wire::Step& step, const Input& input, uint32_t width);

  // Of the last Run. Hidden states of kHidden and kOutput, valid until the next one.
  std::span<const float> hidden() const { return hidden_; }
  // For logits of kLogits; null when the step was cancelled.
  backend::Running* running() const { return running_.get(); }
  bool was_duplicate() const { return work_.duplicate; }

 private:
  Result<void> Compute(const Input& input, uint32_t width);

  StageMachine machine_;
  backend::StageCompute& compute_;
  CancellationSet& cancelled_;
  StageWork work_;
  std::unique_ptr<backend::Running> running_;
  std::span<const float> hidden_;
  std::vector<float> zeros_;
};

}  // namespace exo::engine
