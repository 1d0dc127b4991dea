#include "backend/cpu/measure.h"

#include <array>

#include "backend/cpu/measured_product.h"
#include "backend/sampling.h"
#include "sys/cgroup.h"

namespace exo::backend {
namespace {

// 90 MB of Q4_0: three times a large L3 cache, still quick to fill.
constexpr size_t kPanels = 80 * 1024 / kernels::kPanelRows;
constexpr size_t kPrefillTokens = 64;

}  // namespace

Result<Speed> MeasureSpeed(const kernels::Kernels& kernels, sys::ThreadPool& pool) {
  const MeasuredWeights weights =
      TRY(MeasuredWeights::Make(kernels, tensor::DType::kQ4_0, kPanels));
  MeasuredProduct decode = TRY(MeasuredProduct::Make(kernels, pool, weights, 1));
  MeasuredProduct prefill = TRY(MeasuredProduct::Make(kernels, pool, weights, kPrefillTokens));
  const std::array works = {SampledWork{[&] { decode.Pass(); }, decode.bytes()},
                            SampledWork{[&] { prefill.Pass(); }, prefill.ops()}};
  const auto quota = sys::ReadCpuQuota();
  const auto rates = SustainedRates(works, SamplingFor(quota), AwakeClock);
  return Speed{.decode_gbps = rates[0] * 1e-9,
               .prefill_gops = rates[1] * 1e-9,
               .duty = DutyUnder(quota, static_cast<uint32_t>(pool.threads()))};
}

}  // namespace exo::backend
