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
  std::vector<Effect> effects;
  std::deque<wire::Message> loopback;
  Rng rng;
  uint64_t stale_messages = 0;
  bool changed = false;

  const NodeId& self() const { return options.self; }
  const Timers& timers() const { return options.timers; }
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
