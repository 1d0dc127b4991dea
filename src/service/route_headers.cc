#include "service/route_headers.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/plan.h"

namespace exo::service {
namespace {

// A node's name in a header field: what is no letter, digit, '-' or '.' becomes '_'.
std::string Word(std::string_view name) {
  std::string word(name.substr(0, 64));
  for (char& c : word) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!plain && c != '-' && c != '.') c = '_';
  }
  return word.empty() ? "_" : word;
}

// Devices may have the same name: those have the beginning of their id behind it.
std::string DeviceWord(const node::StageReport& stage, std::span<const node::StageReport> stages) {
  std::string word = Word(stage.node);
  const bool shared = std::ranges::any_of(stages, [&](const node::StageReport& other) {
    return other.id != stage.id && Word(other.node) == word;
  });
  return shared ? fmt::format("{}_{}", word, stage.id.Short()) : word;
}

// `write`: what stands behind the device's word.
template <class Write>
Headers OneHeader(const char* name, std::span<const node::StageReport> stages, Write write) {
  if (stages.empty()) return {};
  std::string value;
  for (const node::StageReport& stage : stages)
    value += (value.empty() ? "" : ", ") + DeviceWord(stage, stages) + write(stage);
  return {{name, std::move(value)}};
}

}  // namespace

Headers CallHeaders(const node::Asker& asker) {
  return {{"X-Request-Id", asker.call.Hex()}};
}

Headers RouteHeaders(std::span<const node::StageReport> stages, wire::Codec codec) {
  Headers headers = OneHeader("X-Exo-Route", stages, [](const node::StageReport& stage) {
    return fmt::format(";layers={}-{}", stage.layer_begin, std::max(stage.layer_end, 1u) - 1);
  });
  if (codec != wire::Codec::kF32)
    headers.push_back({"X-Exo-Wire", std::string(wire::NameOf(codec))});
  return headers;
}

Headers TimingHeaders(std::span<const node::StageReport> stages) {
  return OneHeader("Server-Timing", stages, [](const node::StageReport& stage) {
    return fmt::format(";dur={:.3f}", stage.milliseconds);
  });
}

}  // namespace exo::service
