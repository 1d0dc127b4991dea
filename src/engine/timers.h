// Every duration that the stages of a plan go by, as knobs: the simulator draws each one from the
// range in brackets (cluster/timers.h has those of the cluster core).
#pragma once

#include "base/units.h"

namespace exo::engine {

struct StageTimers {
  // No work item done anywhere though a step is in flight: hung. Far longer than the slowest item,
  // a matrix panel of one chunk.
  Time stall = std::chrono::seconds(30);  // [20 s, 40 s]
  // Of that, at most this is counted at once: a process that was suspended itself must not take
  // everybody else for hung when it resumes.
  Time stall_tick = std::chrono::seconds(2);  // [1.5 s, 3 s]
  // How long a shard looks for sums before it sleeps: as long as to sleep and be woken again takes.
  // Under a quota not at all, since looking uses it up.
  Time sum_spin = std::chrono::microseconds(200);  // [0, 1 ms]
  // Links of a plan: all are up within `link` of Serve; a refused one is tried again.
  Time link = std::chrono::seconds(10);             // [5 s, 15 s]
  Time link_retry = std::chrono::milliseconds(50);  // [20 ms, 100 ms]
  // A stage that computes takes no frames meanwhile, however long that is: a send waits for it.
  // What ends it is Shutdown: by membership when the peer is gone, by the lead's StallWatch when it
  // hangs.
  Time send = std::chrono::hours(24);  // [12 h, 48 h]
  // The reason of a failure is sent on, but nobody waits for a neighbor that does not take it.
  Time send_failure = std::chrono::seconds(1);  // [0.5 s, 2 s]
  // A loaded stage outlives its plan by this.
  Time keep = std::chrono::seconds(30);  // [10 s, 60 s]
};

}  // namespace exo::engine
