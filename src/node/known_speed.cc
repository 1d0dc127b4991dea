#include "node/known_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"

namespace exo::node {
namespace {

std::string KeyOf(const backend::DeviceInfo& device) {
  return fmt::format("speed/1/{}/{}/{}", device.name, device.isa, device.cores);
}

}  // namespace

std::optional<backend::Speed> KnownSpeed(const backend::Backend& backend, store::State& state) {
  const auto known = state.Get(KeyOf(backend.device()));
  backend::Speed speed;
  if (!known ||
      std::sscanf(known->c_str(), "%lf %lf", &speed.decode_gbps, &speed.prefill_gops) != 2 ||
      !(speed.decode_gbps > 0) || !(speed.prefill_gops > 0))
    return std::nullopt;
  return speed;
}

Result<backend::Speed> MeasureSpeed(backend::Backend& backend, store::State& state) {
  backend::Speed speed = TRY(backend.MeasureSpeed());
  if (const auto known = KnownSpeed(backend, state)) {
    speed.decode_gbps = std::max(speed.decode_gbps, known->decode_gbps);
    speed.prefill_gops = std::max(speed.prefill_gops, known->prefill_gops);
  }
  // A disk that is full costs a measurement at the next start, not this one's result.
  const std::string text = fmt::format("{} {}", speed.decode_gbps, speed.prefill_gops);
  if (const auto saved = state.Set(KeyOf(backend.device()), text); !saved)
    LOG(kWarning, "the measured speed is not remembered: {}", saved.error().message);
  return speed;
}

}  // namespace exo::node
