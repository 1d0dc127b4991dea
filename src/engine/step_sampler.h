// Turns the logits of a step's output rows into tokens: as many rows at a time as the stage gives,
// the requests of those beside each other on the threads that compute the stage.
//
// Thread: the stage thread.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/lead.h"
#include "engine/sampler.h"

namespace exo::engine {

class StepSampler {
 public:
  // `recorded`: the whole text whose tokens stand for those that are sampled, for measuring; null:
  // none.
  explicit StepSampler(const std::vector<TokenId>* recorded) : recorded_(recorded) {}

  // A request whose logits cannot be sampled.
  struct Failure {
    RequestId request;
    Error error;
  };
  struct Outputs {
    std::vector<ItemOutput> items;  // of LeadMachine::OnStepDone, one token at least for each
    std::vector<Failure> failures;
  };
  // `running` has the logits of the outputs of all items but the `cancelled` ones, in ascending
  // order; null when there are none. Errors: those of Running::Logits.
  Result<Outputs> Sample(const LeadMachine& lead, const LeadStep& step,
                         std::span<const RequestId> cancelled, backend::StageCompute& stage,
                         backend::Running* running);

 private:
  // A row is valid until another one is asked for that does not lie at hand.
  struct LogitRows {
    backend::Running* running;
    size_t total = 0;              // output rows of the step
    uint32_t best = 0;             // of each are wanted (backend::Running::Logits)
    size_t first = 0, count = 0;   // rows at hand
    std::span<float> values = {};  // [count][vocab]
    Result<std::span<float>> Of(size_t row);
  };
  struct Work {
    const LeadItem* item;
    size_t row = 0;  // its first output row
    ItemOutput output = {};
    std::optional<Error> failed = {};
    Result<void> result = {};
  };
  Result<void> SampleRows(const LeadMachine::View& view, Work& work, LogitRows& logits,
                          SamplerScratch& scratch) const;
  static void AddForced(const LeadMachine::View& view, ItemOutput& output);
  static Result<void> TakeValues(std::span<const float> row, std::span<const TokenId> indices,
                                 Work& work);
  static Result<void> ReadStates(const LeadMachine& lead, Work& work, backend::Running& running);
  Result<void> SampleItem(const LeadMachine& lead, Work& work, LogitRows& logits,
                          SamplerScratch& scratch) const;

  const std::vector<TokenId>* const recorded_;
  std::vector<SamplerScratch> scratches_;
};

}  // namespace exo::engine
