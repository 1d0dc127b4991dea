#include "wire/messages.h"

#include <fmt/format.h>

#include "base/check.h"

namespace exo::wire {

std::string TextOf(const Protocols& protocols) {
  if (protocols.oldest == protocols.newest) return fmt::format("protocol {}", protocols.newest);
  return fmt::format("protocols {} to {}", protocols.oldest, protocols.newest);
}

DeviceRecord TotalOf(const NodeRecord& record) {
  return record.devices.empty() ? DeviceRecord{} : record.devices[0];
}

Logprobs Part(const Logprobs& all, size_t tokens, size_t first, size_t count) {
  if (all.sampled.empty()) return {};
  CHECK(all.sampled.size() == tokens && first + count <= tokens);
  const auto part = [](const auto& values, size_t begin, size_t size) {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(begin);
    return std::vector(from, from + static_cast<std::ptrdiff_t>(size));
  };
  const size_t each = all.top.size() / tokens;
  return {.sampled = part(all.sampled, first, count),
          .top = part(all.top, first * each, count * each)};
}

void Append(Logprobs& all, const Logprobs& more) {
  all.sampled.insert(all.sampled.end(), more.sampled.begin(), more.sampled.end());
  all.top.insert(all.top.end(), more.top.begin(), more.top.end());
}

}  // namespace exo::wire
