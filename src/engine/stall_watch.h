// Tells a slow instance from a hung one: a stage that computes is alive however slow it is. What
// counts is that work items are done anywhere on the instance's nodes, or that steps go out and
// come back, while there is work. Nodes that are gone or frozen end the instance sooner: their
// heartbeats stop (cluster/members.h).
//
// Pure. Thread: one caller at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/timers.h"

namespace exo::engine {

class StallWatch {
 public:
  explicit StallWatch(const StageTimers& timers) : timers_(timers) {}

  // Call about once a second. `working`: a step is being computed or in flight. `progress`: any
  // number that differs from the last one when something was done. True: hung.
  bool Tick(bool working, uint64_t progress, Time now) {
    const Time elapsed = std::min(now - last_, timers_.stall_tick);
    last_ = now;
    if (!working || progress != progress_) {
      progress_ = progress;
      idle_ = Time{};
      return false;
    }
    idle_ += elapsed;
    return idle_ > timers_.stall;
  }

 private:
  const StageTimers timers_;
  uint64_t progress_ = 0;
  Time last_{};
  Time idle_{};
};

}  // namespace exo::engine
