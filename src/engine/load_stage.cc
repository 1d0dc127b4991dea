#include "engine/load_stage.h"

#include "base/units.h"
#include "engine/shard_group.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

backend::StageSpec SpecOf(const wire::Plan& plan, uint32_t stage, const ModelParts& model) {
  const wire::StagePlan& own = plan.stages[stage];
  return {.config = model.config,
          .tensors = model.tensors,
          .layer_begin = own.layer_begin,
          .layer_end = own.layer_end,
          .lead = stage == 0,
          .shard = own.shard ? std::optional(ShardOf(*own.shard, *model.config)) : std::nullopt,
          .kv_type = static_cast<kernels::KvType>(plan.kv_type),
          .chunk = plan.chunk,
          .streamed = {.layers = wire::StreamedLayers(own), .windows = wire::kStreamWindows}};
}

// Together the shards of a group must be the model: a sum that lacks leaves is none. And the KV
// heads of each are those of its query heads.
Result<void> CheckGroup(const wire::Plan& plan, const wire::StageGroup& group,
                        const model::ModelConfig& config) {
  const wire::ShardPlan& last = *plan.stages[group.end - 1].shard;
  const uint32_t vocab = group.begin == 0 ? config.vocab : 0;  // the lead's group has it
  if (last.kv_end != config.kv_heads || last.ffn_end != config.ffn_width ||
      last.vocab_end != vocab || last.expert_end != config.experts.count) {
    return Fail(
        ErrorCode::kInvalid,
        "the shards end at KV head {} of {}, at column {} of {} of the feed-forward block, at "
        "expert {} of {} and at token {} of {}",
        last.kv_end, config.kv_heads, last.ffn_end, config.ffn_width, last.expert_end,
        config.experts.count, last.vocab_end, vocab);
  }
  if (last.HasHeads() && last.head_end != config.heads) {
    return Fail(ErrorCode::kInvalid, "the shards end at query head {} of {}", last.head_end,
                config.heads);
  }
  for (size_t i = group.begin; i < group.end; ++i) {
    const wire::ShardPlan& shard = *plan.stages[i].shard;
    const backend::Shard own = ShardOf(shard, config);
    const uint32_t kv_end = (own.head_end + config.group() - 1) / config.group();
    if (own.head_begin / config.group() == shard.kv_begin && kv_end == shard.kv_end) continue;
    return Fail(ErrorCode::kInvalid,
                "a shard of query heads [{}, {}) with KV heads [{}, {}): {} "
                "query heads share one",
                own.head_begin, own.head_end, shard.kv_begin, shard.kv_end, config.group());
  }
  return {};
}

Result<void> CheckShards(const wire::Plan& plan, const model::ModelConfig& config) {
  for (const wire::StageGroup& group : wire::GroupsOf(plan)) {
    if (plan.stages[group.begin].shard) TRY(CheckGroup(plan, group, config));
  }
  return {};
}

// The bytes that the plan reserves here were computed by another node. Its instruction set may pack
// panels a little tighter; more than that is a plan that would take what was never granted.
Result<void> CheckReservation(const wire::Plan& plan, uint32_t stage, uint32_t window,
                              const backend::StageBytes& need) {
  const uint64_t reserved = plan.stages[stage].bytes;
  const uint64_t kv =
      need.kv_per_position * ReservedPositions(plan) +
      need.windowed_kv_per_position * WindowedPages(plan, window) * wire::kPagePositions;
  const uint64_t bytes = need.weights + kv + need.scratch;
  if (bytes <= reserved || bytes - reserved <= reserved / 8) return {};
  const SizePair sizes = FormatSizes(bytes, reserved);
  return Fail(ErrorCode::kOverloaded,
              "{} of {} need {} here (weights {}, KV cache {}, scratch {}), the plan reserves {}",
              wire::DescribeStage(plan, static_cast<int>(stage)), plan.model_name, sizes.first,
              FormatSize(need.weights), FormatSize(kv), FormatSize(need.scratch), sizes.second);
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
  TRY(CheckShards(plan, *model.config));
  backend::StageSpec spec = SpecOf(plan, stage, model);
  if (!plan.adapters.empty())
    spec.adapters = TRY(source.FetchAdapters(model, {spec.layer_begin, spec.layer_end}, cancel));
  if (spec.adapters.size() != plan.adapters.size()) {
    return Fail(ErrorCode::kUnsupported, "{} of the plan's {} adapters are here",
                spec.adapters.size(), plan.adapters.size());
  }
  TRY(CheckReservation(plan, stage, model.config->window, backend.Estimate(spec)));
  // Fetching and packing each count for half of the progress.
  bool fetched = false;
  const auto fetching = [&](uint64_t done, uint64_t total) {
    fetched = true;
    progress(done, 2 * total);
  };
  const std::shared_ptr<backend::TensorSource> tensors = TRY(source.Fetch(spec, fetching, cancel));
  if (!spec.streamed.layers.empty()) spec.streamed.source = tensors;
  const auto packing = [&](uint64_t done, uint64_t total) {
    fetched ? progress(total + done, 2 * total) : progress(done, total);
  };
  auto compute = TRY(backend.Load(spec, *tensors, packing, cancel));
  uint32_t low_rank = 0;
  for (const backend::StageAdapter& adapter : spec.adapters) low_rank += adapter.tensors->max_rank;
  return std::make_unique<StageWorker>(model.config, std::move(compute), low_rank);
}

Result<std::unique_ptr<LocalModel>> LoadDraft(StageSource& source, backend::Backend& backend,
                                              const wire::Plan& plan,
                                              const std::atomic<bool>* cancel) {
  const ModelParts model = TRY(source.Describe(cancel));
  const backend::StageSpec spec = {.config = model.config,
                                   .tensors = model.tensors,
                                   .layer_begin = 0,
                                   .layer_end = model.config->layers,
                                   .lead = true,
                                   .chunk = plan.chunk};
  const backend::StageBytes need = backend.Estimate(spec);
  const uint64_t reserved = plan.draft->bytes;
  if (need.weights + need.scratch > reserved + reserved / 8) {
    const SizePair sizes = FormatSizes(need.weights + need.scratch, reserved);
    return Fail(ErrorCode::kOverloaded, "the draft {} needs {} here, the plan reserves {}",
                plan.draft->name, sizes.first, sizes.second);
  }
  const auto tensors = TRY(source.Fetch(spec, [](uint64_t, uint64_t) {}, cancel));
  return LocalModel::Load(backend, model.config, model.tensors, *tensors, {.chunk = plan.chunk});
}

}  // namespace exo::engine
