#include "engine/load_stage.h"

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
