#include "node/removal.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"

namespace exo::node {

std::string DescribeRemoved(const Removed& removed) {
  std::string said =
      removed.bytes() > 0 ? "deleted " + FormatSize(removed.bytes()) : "nothing to delete is here";
  for (const std::string& file : removed.files.brought_by_others)
    said += fmt::format("; {} stays: it was here before exo pulled it", file);
  for (const std::string& file : removed.files.in_use)
    said += fmt::format("; {} stays: another model here uses it", file);
  if (!removed.own_file.empty())
    said += fmt::format("; {} stays: exo has not downloaded it", removed.own_file);
  return said;
}

RemovalRound::RemovalRound(net::EventLoop& loop, Time limit, Done done)
    : limit_(limit), done_(std::move(done)), timer_(loop) {}

void RemovalRound::Missing(const std::string& name, const std::string& why) {
  views_.push_back({.device = name, .said = why});
}

void RemovalRound::Begin() {
  if (waiting_.empty()) return End();
  timer_.Start(limit_, [this] {
    for (const auto& [unused, name] : std::exchange(waiting_, {}))
      Missing(name, "gave no answer: look there with exo models");
    End();
  });
}

void RemovalRound::Answer(const NodeId& device, bool ok, uint64_t freed_bytes,
                          const std::string& said) {
  const auto asked = waiting_.extract(device);
  if (asked.empty()) return;
  views_.push_back({.device = asked.mapped(), .ok = ok, .freed_bytes = freed_bytes, .said = said});
  if (waiting_.empty()) End();
}

void RemovalRound::End() {
  timer_.Cancel();
  const Done done = done_;
  done(std::exchange(views_, {}));
}

}  // namespace exo::node
