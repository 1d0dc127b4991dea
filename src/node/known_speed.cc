#include "node/known_speed.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/log.h"

namespace exo::node {
namespace {

std::string SpeedKeyOf(const backend::DeviceInfo& device) {
  return fmt::format("speed/2/{}/{}/{}", device.name, device.isa, device.cores);
}

// Cores of a quota; 0: there is none.
double CoresOf(const std::optional<sys::CpuQuota>& quota) {
  return quota ? quota->cores : 0;
}

}  // namespace

std::optional<backend::Speed> KnownSpeed(const backend::Backend& backend, store::State& state,
                                         const std::optional<sys::CpuQuota>& quota) {
  const auto known = state.Get(SpeedKeyOf(backend.device()));
  backend::Speed speed;
  double cores = 0;
  if (!known ||
      std::sscanf(known->c_str(), "%lf %lf %lf", &speed.decode_gbps, &speed.prefill_gops, &cores) !=
          3 ||
      !(speed.decode_gbps > 0) || !(speed.prefill_gops > 0) || cores != CoresOf(quota))
    return std::nullopt;
  return speed;
}

Result<backend::Speed> MeasureSpeed(backend::Backend& backend, store::State& state,
                                    const std::optional<sys::CpuQuota>& quota) {
  const backend::Speed speed = TRY(backend.MeasureSpeed());
  if (!speed.alone) return speed;
  // A disk that is full costs a measurement at the next start, not this one's result.
  const std::string text =
      fmt::format("{} {} {}", speed.decode_gbps, speed.prefill_gops, CoresOf(quota));
  if (const auto saved = state.Set(SpeedKeyOf(backend.device()), text); !saved)
    LOG(kWarning, "the measured speed is not remembered: {}", saved.error().message);
  return speed;
}

}  // namespace exo::node
