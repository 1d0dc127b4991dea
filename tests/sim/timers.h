// Draws every knob of cluster/timers.h and engine/timers.h from its documented range: nothing may
// be right only for the defaults.
#pragma once

#include "base/random.h"
#include "cluster/timers.h"
#include "engine/timers.h"

namespace exo::sim {

inline Time DrawTime(Rng& rng, double least_s, double most_s) {
  const double seconds = least_s + (most_s - least_s) * rng.Uniform();
  return Time(static_cast<int64_t>(seconds * 1e9));
}

inline cluster::Timers DrawTimers(Rng& rng) {
  const auto draw = [&](double least_s, double most_s) { return DrawTime(rng, least_s, most_s); };
  return {.heartbeat = draw(0.5, 1.5),
          .suspect = draw(2.5, 4),
          .dead = draw(5, 8),
          .reconnect = draw(1, 3),
          .retry = draw(2, 8),
          .max_retry = draw(30, 90),
          .forget = draw(12 * 3600, 48 * 3600),
          .forget_unmet = draw(5 * 60, 20 * 60),
          .forget_stranger = draw(30, 120),
          .lease = draw(14, 20),
          .renew = draw(2, 6),
          .wake = draw(10, 13),
          .reserve = draw(5, 15),
          .load_stall = draw(30, 90),
          .drain = draw(10, 30),
          .load_report = draw(0.1, 1),
          .backoff = draw(0.5, 2),
          .max_backoff = draw(10, 30),
          .ensure = draw(20, 40),
          .takeover = draw(4, 8),
          .spread = draw(0.5, 2),
          .restore = draw(1, 5),
          .unload = draw(9, 15),
          .idle = draw(0.5, 2),
          .making_room = draw(5, 15),
          .drift = draw(2, 15),
          .move_again = draw(5, 90),
          .waiting = draw(8, 15),
          .keep_answer = draw(30, 60)};
}

inline engine::StageTimers DrawStageTimers(Rng& rng) {
  const auto draw = [&](double least_s, double most_s) { return DrawTime(rng, least_s, most_s); };
  return {.stall = draw(20, 40),
          .stall_tick = draw(1.5, 3),
          .link = draw(5, 15),
          .link_retry = draw(0.02, 0.1),
          .send = draw(12 * 3600, 48 * 3600),
          .send_failure = draw(0.5, 2),
          .keep = draw(10, 60)};
}

}  // namespace exo::sim
