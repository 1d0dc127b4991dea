#include "node/known_speed.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/log.h"

namespace exo::node {

Result<backend::Speed> KnownSpeed(backend::Backend& backend, store::State& state) {
  const backend::DeviceInfo& device = backend.device();
  const std::string key = fmt::format("speed/1/{}/{}/{}", device.name, device.isa, device.cores);
  if (const auto known = state.Get(key)) {
    backend::Speed speed;
    if (std::sscanf(known->c_str(), "%lf %lf", &speed.decode_gbps, &speed.prefill_gops) == 2 &&
        speed.decode_gbps > 0 && speed.prefill_gops > 0) {
      return speed;
    }
  }
  const backend::Speed speed = TRY(backend.MeasureSpeed());
  // A disk that is full costs a measurement at the next start, not this one's result.
  const std::string text = fmt::format("{} {}", speed.decode_gbps, speed.prefill_gops);
  if (const auto saved = state.Set(key, text); !saved)
    LOG(kWarning, "the measured speed is not remembered: {}", saved.error().message);
  return speed;
}

}  // namespace exo::node
