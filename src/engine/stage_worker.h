// A loaded stage: the compute with its weights and KV, and the StageMachine that decides what it
// may compute. Every stage runs its layers through this, the lead's own included. It outlives the
// plan it was loaded for: Bind hands it over to another one, with the sequences it holds.
//
// Thread: the stage thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/page_store.h"
#include "base/result.h"
#include "engine/cancellation_set.h"
#include "engine/moved_pages.h"
#include "engine/stage.h"
#include "wire/messages.h"

namespace exo::engine {

// Where a stage's pages outlive their sequences.
struct StagePages {
  backend::PageStore* store = nullptr;  // null: nowhere. Must outlive the binding
  uint32_t layer_begin = 0;             // of the stage
  uint32_t layer_end = 0;
  LoadMoved moved = {};  // how pages of the former plan are had; none: there was none
};

class StageWorker {
 public:
  // `low_rank`: ranks of the adapters that it was loaded with, together.
  StageWorker(std::shared_ptr<const model::ModelConfig> config,
              std::unique_ptr<backend::StageCompute> compute, uint32_t low_rank = 0)
      : config_(std::move(config)), compute_(std::move(compute)), low_rank_(low_rank) {}

  const model::ModelConfig& config() const { return *config_; }
  uint32_t low_rank() const { return low_rank_; }
  backend::StageCompute& compute() { return *compute_; }
  const StageMachine& machine() const { return machine_; }
  // Before the first step of a plan.
  void Bind(const wire::Plan& plan, const StagePages& pages = {});
  // After the last one: the store may go.
  void Unbind() { pages_ = {}; }
  // Before that, of a plan that moves: gives away the KV of the requests in work, page by page, so
  // that no more than one page is there twice. Nothing where the stage cannot save pages. Errors:
  // those of the device.
  Result<void> LeavePages(const PlanId& plan, MovedPages& to);

  // What a stage is given and asked for: tokens at the lead, elsewhere hidden [rows][width].
  struct Input {
    std::span<const TokenId> tokens;
    std::span<const float> hidden;
    backend::Wanted wanted = backend::Wanted::kHidden;
    // Of a shard: it computes a step to its end, since the others wait for its sums.
    backend::Collective* collective = nullptr;
  };
  // Runs the layers over the step's rows. Items that are not computed (their sequence is dirty, or
  // everything in the step was cancelled meanwhile) are marked in `step`: their rows do not go on.
  // So are pages that the store does not have, or does not take.
  // Errors: kNotFound (foreign plan: drop the frame); anything else fails the instance.
  Result<void> Run(wire::Step& step, const Input& input, CancellationSet& cancelled);

  // Of the last Run. Hidden states of kHidden and kOutput, valid until the next one.
  std::span<const float> hidden() const { return hidden_; }
  // For logits of kLogits; null when nothing was computed.
  backend::Running* running() const { return running_.get(); }
  // Rows of which running() has logits.
  size_t outputs() const { return work_.output_rows.size(); }
  bool was_duplicate() const { return work_.duplicate; }

 private:
  Result<void> ChangeSequences();
  Input WithoutCancelled(const Input& input);
  Result<void> Compute(const Input& input, const std::atomic<bool>* cancel);
  Result<void> GiveUp(wire::Step& step);
  Result<void> RestorePages(wire::Step& step);
  Result<bool> RestorePage(const StageWork::Page& page, const wire::StepPage& asked);
  // What lies in the store or at the former plan's stages. Nothing: it is not to be had.
  std::optional<backend::PageStore::SavedPage> FindPage(const StageWork::Page& page,
                                                        const wire::StepPage& asked);
  std::optional<backend::PageStore::SavedPage> FindMoved(const StageWork::Page& page,
                                                         const RequestId& request);
  Result<void> LeaveSequence(const StageMachine::Left& left, const PlanId& plan, MovedPages& to);
  // Of the model, in ascending order: those that a page of this form holds here.
  std::vector<uint32_t> LayersOf(bool bare) const;
  Result<void> StorePages(wire::Step& step);
  backend::PageStore::PageName NameOf(const StageWork::Page& page, const Hash256& key) const;
  // How many layers before `layer` of the model a page of this form holds.
  uint32_t LayersBefore(uint32_t layer, bool bare) const;

  std::shared_ptr<const model::ModelConfig> config_;
  std::unique_ptr<backend::StageCompute> compute_;
  const uint32_t low_rank_;
  StageMachine machine_{{}};
  StagePages pages_;
  StageWork work_;
  std::unique_ptr<backend::Running> running_;
  std::span<const float> hidden_;
  std::vector<TokenId> kept_tokens_;  // WithoutCancelled
  std::vector<float> kept_rows_;
};

}  // namespace exo::engine
