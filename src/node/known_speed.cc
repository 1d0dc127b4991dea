#include "node/known_speed.h"

#include <fmt/format.h>

#include <cstdio>
#include <sstream>

#include "base/log.h"

namespace exo::node {
namespace {

std::string SpeedKeyOf(const backend::DeviceInfo& device) {
  return fmt::format("speed/3/{}/{}/{}", device.name, device.isa, device.cores);
}

// Cores of a quota; 0: there is none.
double CoresOf(const std::optional<sys::CpuQuota>& quota) {
  return quota ? quota->cores : 0;
}

std::string CostsKeyOf(const backend::DeviceInfo& device) {
  return fmt::format("costs/1/{}/{}/{}", device.name, device.isa, device.cores);
}

// The bytes of a layer, then a format's number and its two costs, again and again.
std::string CostsText(const backend::WorkCosts& costs) {
  std::string text = fmt::format("{:.0f}", costs.layer_bytes);
  for (const backend::FormatCost& one : costs.formats) {
    text +=
        fmt::format(" {} {:.3f} {:.3f}", static_cast<uint32_t>(one.type), one.decode, one.prefill);
  }
  return text;
}

std::optional<backend::WorkCosts> ReadCosts(const std::string& text) {
  std::istringstream in(text);
  backend::WorkCosts costs;
  if (!(in >> costs.layer_bytes)) return {};
  for (uint32_t type = 0; in >> type;) {
    backend::FormatCost one;
    if (!tensor::FindDType(type) || !(in >> one.decode >> one.prefill)) return {};
    one.type = static_cast<tensor::DType>(type);
    costs.formats.push_back(one);
  }
  return costs;
}

}  // namespace

std::optional<backend::Speed> KnownSpeed(const backend::Backend& backend, store::State& state,
                                         const std::optional<sys::CpuQuota>& quota) {
  const auto known = state.Get(SpeedKeyOf(backend.device()));
  backend::Speed speed;
  double cores = 0;
  if (!known ||
      std::sscanf(known->c_str(), "%lf %lf %lf %lf", &speed.decode_gbps, &speed.prefill_gops,
                  &speed.duty, &cores) != 4 ||
      !(speed.decode_gbps > 0) || !(speed.prefill_gops > 0) || !(speed.duty > 0) ||
      cores != CoresOf(quota))
    return std::nullopt;
  return speed;
}

Result<backend::Speed> MeasureSpeed(backend::Backend& backend, store::State& state,
                                    const std::optional<sys::CpuQuota>& quota) {
  const backend::Speed speed = TRY(backend.MeasureSpeed());
  if (!speed.alone) return speed;
  // A disk that is full costs a measurement at the next start, not this one's result.
  const std::string text =
      fmt::format("{} {} {} {}", speed.decode_gbps, speed.prefill_gops, speed.duty, CoresOf(quota));
  if (const auto saved = state.Set(SpeedKeyOf(backend.device()), text); !saved)
    LOG(kWarning, "the measured speed is not remembered: {}", saved.error().message);
  return speed;
}

std::optional<backend::WorkCosts> KnownCosts(backend::Backend& backend, store::State& state) {
  const auto known = state.Get(CostsKeyOf(backend.device()));
  auto costs = known ? ReadCosts(*known) : std::nullopt;
  if (costs) backend.SetCosts(*costs);
  return costs;
}

Result<backend::WorkCosts> MeasureCosts(backend::Backend& backend, store::State& state) {
  const backend::WorkCosts costs = TRY(backend.MeasureCosts());
  backend.SetCosts(costs);
  if (const auto saved = state.Set(CostsKeyOf(backend.device()), CostsText(costs)); !saved)
    LOG(kWarning, "what formats cost is not remembered: {}", saved.error().message);
  return costs;
}

}  // namespace exo::node
