#include "engine/load_stage.h"

#include "base/units.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

backend::StageSpec SpecOf(const wire::Plan& plan, uint32_t stage, const ModelParts& model) {
  return {.config = model.config,
          .tensors = model.tensors,
          .layer_begin = plan.stages[stage].layer_begin,
          .layer_end = plan.stages[stage].layer_end,
          .lead = stage == 0,
          .kv_type = static_cast<kernels::KvType>(plan.kv_type),
          .chunk = plan.chunk};
}

// The bytes that the plan reserves here were computed by another node. Its instruction set may pack
// panels a little tighter; more than that is a plan that would take what was never granted.
Result<void> CheckReservation(const wire::Plan& plan, uint32_t stage,
                              const backend::StageBytes& need) {
  const uint64_t reserved = plan.stages[stage].bytes;
  const uint64_t kv = need.kv_per_position * ReservedPositions(plan);
  const uint64_t bytes = need.weights + kv + need.scratch;
  if (bytes <= reserved || bytes - reserved <= reserved / 8) return {};
  return Fail(ErrorCode::kOverloaded,
              "{} of {} need {} here (weights {}, KV cache {}, scratch {}), the plan reserves {}",
              wire::DescribeStage(plan, static_cast<int>(stage)), plan.model_name,
              FormatSize(bytes), FormatSize(need.weights), FormatSize(kv), FormatSize(need.scratch),
              FormatSize(reserved));
}

}  // namespace

Result<std::unique_ptr<StageWorker>> LoadStage(StageSource& source, backend::Backend& backend,
                                               const wire::Plan& plan, uint32_t stage,
                                               const Progress& progress,
                                               const std::atomic<bool>* cancel) {
  const ModelParts model = TRY(source.Describe(cancel));
  if (plan.layers != model.config->layers) {
    return Fail(ErrorCode::kInvalid, "a plan for {} layers of a model that has {}", plan.layers,
                model.config->layers);
  }
  const backend::StageSpec spec = SpecOf(plan, stage, model);
  TRY(CheckReservation(plan, stage, backend.Estimate(spec)));
  // Fetching and packing each count for half of the progress.
  bool fetched = false;
  const auto fetching = [&](uint64_t done, uint64_t total) {
    fetched = true;
    progress(done, 2 * total);
  };
  const auto tensors = TRY(source.Fetch(spec, fetching, cancel));
  const auto packing = [&](uint64_t done, uint64_t total) {
    fetched ? progress(total + done, 2 * total) : progress(done, total);
  };
  auto compute = TRY(backend.Load(spec, *tensors, packing, cancel));
  return std::make_unique<StageWorker>(model.config, std::move(compute));
}

}  // namespace exo::engine
