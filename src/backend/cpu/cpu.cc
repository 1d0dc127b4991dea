#include "backend/cpu/cpu.h"

#include <fmt/format.h>

#include "backend/cpu/shard.h"
#include "backend/cpu/stage.h"
#include "backend/cpu/weights.h"
#include "kernels/float_mode.h"

namespace exo::backend {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool)
      : kernels_(kernels), pool_(pool) {}

  std::string Describe() const override {
    return fmt::format("cpu {}, {} thread{}", kernels::IsaName(kernels_.isa()), pool_.threads(),
                       pool_.threads() == 1 ? "" : "s");
  }

  StageBytes Estimate(const StageSpec& wanted) const override {
    std::optional<ShardPlan> shard;
    if (wanted.shard) {
      auto plan = PlanShard(wanted);
      if (!plan) return {};
      shard = std::move(*plan);
    }
    const StageSpec& spec = shard ? shard->spec : wanted;
    return {.weights = WeightBytes(kernels_, spec),
            .read_per_token = ReadBytes(kernels_, spec),
            .kv_per_position = KvBytesPerPosition(spec),
            .scratch = ScratchBytes(kernels_, spec, shard ? shard->max_parts : 0)};
  }

  Result<std::unique_ptr<StageCompute>> Load(
      const StageSpec& spec, TensorSource& source,
      const std::function<void(uint64_t, uint64_t)>& progress,
      const std::atomic<bool>* cancel) override {
    kernels::SetFloatMode();
    if (!spec.shard) {
      StageWeights weights =
          TRY(LoadWeights(kernels_, pool_, spec, nullptr, source, progress, cancel));
      return CpuStage::Make(kernels_, pool_, spec, {}, std::move(weights));
    }
    const ShardPlan plan = TRY(PlanShard(spec));
    ShardSource parts(source, plan);
    StageWeights weights =
        TRY(LoadWeights(kernels_, pool_, plan.spec, &plan, parts, progress, cancel));
    return CpuStage::Make(kernels_, pool_, plan.spec,
                          {.attention_leaves = plan.attention_leaves,
                           .ffn_leaves = plan.ffn_leaves,
                           .max_parts = plan.max_parts},
                          std::move(weights));
  }

 private:
  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool) {
  return std::make_unique<CpuBackend>(kernels, pool);
}

std::unique_ptr<sys::ThreadPool> MakeComputePool(unsigned threads) {
  return std::make_unique<sys::ThreadPool>(threads, [] { kernels::SetFloatMode(); });
}

}  // namespace exo::backend
