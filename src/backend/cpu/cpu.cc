#include "backend/cpu/cpu.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/cpu/measure.h"
#include "backend/cpu/measure_costs.h"
#include "backend/cpu/stage.h"
#include "backend/cpu/weights.h"
#include "backend/shard.h"
#include "base/check.h"
#include "base/units.h"
#include "kernels/float_mode.h"
#include "kernels/numerics.h"
#include "sys/system.h"

namespace exo::backend {
namespace {

// Left for the rest of the system and for exo itself: a tenth of the machine, within these bounds.
constexpr uint64_t kMinReserve = 72 * kMiB;
constexpr uint64_t kMaxReserve = 1 * kGiB;

// So much beside a measurement does not spoil it: the event loop, timers.
constexpr double kOtherWork = 0.1;

uint64_t MemoryBudget(std::optional<uint64_t> limit, const sys::MemoryInfo& memory) {
  if (limit) return *limit;
  const uint64_t reserve = std::clamp(memory.total / 10, kMinReserve, kMaxReserve);
  return memory.available > reserve ? memory.available - reserve : 0;
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool, const BackendOptions& options,
             std::unique_ptr<sys::ThreadPool> own = {})
      : kernels_(kernels),
        own_(std::move(own)),
        pool_(pool),
        copy_prepared_(options.copy_prepared) {
    const sys::MemoryInfo memory = sys::ReadMemory();
    device_ = {.kind = DeviceKind::kCpu,
               .name = sys::ProcessorName(),
               .isa = std::string(kernels::IsaName(kernels.isa())),
               .cores = pool.threads(),
               .memory_total = memory.total,
               .memory_budget = MemoryBudget(options.memory_limit, memory)};
  }

  const DeviceInfo& device() const override { return device_; }
  NumericsId Numerics() const override {
    kernels::SetFloatMode();
    return kernels::ComputeNumericsId(kernels_);
  }
  Result<Speed> MeasureSpeed() override {
    kernels::SetFloatMode();
    const SpeedMeter::Work work(meter_);
    const double process = sys::ProcessCpuSeconds();
    const double thread = sys::ThreadCpuSeconds();
    Speed speed = TRY(backend::MeasureSpeed(kernels_, pool_));
    // Threads that hash or parse files take from the same cores and the same quota. Those of the
    // pool take as much time as this one.
    const double all = sys::ProcessCpuSeconds() - process;
    const double own = (sys::ThreadCpuSeconds() - thread) * pool_.threads();
    speed.alone = work.alone() && all < own * (1 + kOtherWork);
    return speed;
  }
  Result<WorkCosts> MeasureCosts() override {
    kernels::SetFloatMode();
    const SpeedMeter::Work work(meter_);
    return backend::MeasureCosts(kernels_, pool_, *this);
  }
  void SetCosts(WorkCosts costs) override { meter_.SetCosts(std::move(costs)); }
  WorkDone TakeWork() override { return meter_.Take(); }
  uint64_t items_done() const override { return pool_.items_done(); }
  std::chrono::nanoseconds busy() const override { return pool_.busy(); }
  std::string_view layout() const override { return kernels_.layout(); }

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
    return {.weights = WeightBytes(kernels_, spec) +
                       AdapterWeightBytes(kernels_, spec, shard ? &*shard : nullptr),
            .read_per_token = ReadBytes(kernels_, spec),
            .kv_per_position = KvBytesPerPosition(spec, /*windowed=*/false),
            .windowed_kv_per_position = KvBytesPerPosition(spec, /*windowed=*/true),
            .scratch = ScratchBytes(kernels_, spec, shard ? shard->max_parts : 0) +
                       AdapterScratchBytes(kernels_, spec) + StreamScratchBytes(spec)};
  }

  Result<std::unique_ptr<StageCompute>> Load(
      const StageSpec& spec, TensorSource& source,
      const std::function<void(uint64_t, uint64_t)>& progress,
      const std::atomic<bool>* cancel) override {
    kernels::SetFloatMode();
    CHECK(!spec.shard || spec.streamed.layers.empty());
    const SpeedMeter::Work work(meter_);
    if (!spec.shard) {
      StageWeights weights =
          TRY(LoadWeights(kernels_, pool_, spec, nullptr, source, progress, cancel));
      return CpuStage::Make(kernels_, pool_, meter_, spec, {}, std::move(weights), copy_prepared_);
    }
    const ShardPlan plan = TRY(PlanShard(spec));
    ShardSource parts(source, plan);
    StageWeights weights =
        TRY(LoadWeights(kernels_, pool_, plan.spec, &plan, parts, progress, cancel));
    return CpuStage::Make(kernels_, pool_, meter_, plan.spec,
                          {.max_parts = plan.max_parts, .group = plan.group}, std::move(weights),
                          copy_prepared_);
  }

 private:
  const kernels::Kernels& kernels_;
  const std::unique_ptr<sys::ThreadPool> own_;  // null: somebody else's
  sys::ThreadPool& pool_;
  const bool copy_prepared_;
  DeviceInfo device_;
  SpeedMeter meter_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const kernels::Kernels& kernels, sys::ThreadPool& pool) {
  return std::make_unique<CpuBackend>(kernels, pool, BackendOptions{});
}

std::unique_ptr<Backend> OpenCpu(const kernels::Kernels& kernels,
                                 std::unique_ptr<sys::ThreadPool> pool,
                                 const BackendOptions& options) {
  sys::ThreadPool& used = *pool;
  return std::make_unique<CpuBackend>(kernels, used, options, std::move(pool));
}

}  // namespace exo::backend
