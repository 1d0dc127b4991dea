// What the parts of the core share while one event is handled: the time, the effects so far, and
// the way messages go out. A message to this node itself comes back through `loopback`, so that a
// node plays owner, participant, lead and entry by the same code whether it is alone or not.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "base/random.h"
#include "cluster/core.h"

namespace exo::cluster {

struct Context {
  explicit Context(const CoreOptions& core_options)
      : options(core_options), rng(core_options.seed, core_options.incarnation) {}

  const CoreOptions& options;
  Time now{};
  // The wall clock at `wall_at`, as the driver last told it.
  uint64_t wall_ms = 0;
  Time wall_at{};
  std::vector<Effect> effects;
  std::deque<wire::Message> loopback;
  Rng rng;
  bool changed = false;

  const NodeId& self() const { return options.self; }
  const Timers& timers() const { return options.timers; }
  // Milliseconds since 1970; 0 until the driver has told it.
  uint64_t WallMs() const {
    if (wall_ms == 0) return 0;
    return wall_ms + static_cast<uint64_t>((now - wall_at) / std::chrono::milliseconds(1));
  }
  // A random part of Timers::spread.
  Time Spread() {
    return Time(static_cast<int64_t>(rng.Below(static_cast<uint64_t>(timers().spread.count()))));
  }
  void Emit(Effect effect) { effects.push_back(std::move(effect)); }
  void SendTo(const NodeId& peer, wire::Message message) {
    if (peer == options.self) {
      loopback.push_back(std::move(message));
    } else {
      effects.push_back(Send{peer, std::move(message)});
    }
  }
};

}  // namespace exo::cluster
