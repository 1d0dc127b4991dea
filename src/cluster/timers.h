// Every duration that the cluster core goes by. All are knobs: the simulator draws each one from
// the range in brackets, so that nothing is right only for the defaults.
//
// What must hold between them: heartbeat < suspect < dead < wake < lease, and renew < lease / 2.
#pragma once

#include "base/units.h"

namespace exo::cluster {

struct Timers {
  // Members.
  Time heartbeat = std::chrono::seconds(1);      // [0.5 s, 1.5 s]
  Time suspect = std::chrono::seconds(3);        // [2.5 s, 4 s] of silence
  Time dead = std::chrono::seconds(6);           // [5 s, 8 s] of silence
  Time reconnect = std::chrono::seconds(2);      // [1 s, 3 s]: a broken session did not come back
  Time retry = std::chrono::seconds(5);          // [2 s, 8 s] while a known peer has no session;
  Time max_retry = std::chrono::minutes(1);      // [30 s, 90 s]: a tenth of its absence up to this
  Time forget = std::chrono::hours(24);          // [12 h, 48 h]: a member that is gone
  Time forget_unmet = std::chrono::minutes(10);  // [5 min, 20 min]: others told of it
  Time forget_stranger = std::chrono::minutes(1);  // [30 s, 2 min]: refused, no member
  // Instances.
  Time lease = std::chrono::seconds(15);       // [14 s, 20 s] at the participant
  Time renew = std::chrono::seconds(5);        // [2 s, 6 s] by the owner; also for summaries
  Time wake = std::chrono::seconds(12);        // [10 s, 13 s]: an owner suspended for so long
                                               // gives its instances up
  Time reserve = std::chrono::seconds(10);     // [5 s, 15 s]: all grants must be in
  Time load_stall = std::chrono::seconds(60);  // [30 s, 90 s]: a load without progress
  Time drain = std::chrono::seconds(30);       // [10 s, 30 s]: a duplicate ends its requests
  Time load_report = std::chrono::milliseconds(500);  // [0.1 s, 1 s] between progress reports
  // Desired models.
  Time backoff = std::chrono::seconds(1);         // [0.5 s, 2 s] before planning again; doubles
  Time max_backoff = std::chrono::seconds(30);    // [10 s, 30 s]
  Time ensure = std::chrono::seconds(30);         // [20 s, 40 s]: an answer to EnsureInstance
  Time takeover = std::chrono::seconds(6);        // [4 s, 8 s]: the owner of a lost instance has
                                                  // not planned it again
  Time spread = std::chrono::milliseconds(1500);  // [0.5 s, 2 s]: keeps nodes from planning at once
  Time restore = std::chrono::seconds(3);         // [1 s, 5 s] after the start, to see peers first
  Time unload = std::chrono::seconds(10);         // [9 s, 15 s]: then the nodes that did not answer
                                                  // are named
  Time idle = std::chrono::seconds(1);            // [0.5 s, 2 s] without a request: may make room
  Time making_room = std::chrono::seconds(10);    // [5 s, 15 s]: evicted memory has become free
  // Plans that drift.
  Time drift = std::chrono::seconds(10);       // [2 s, 15 s]: so long must a device be another
  Time move_again = std::chrono::seconds(60);  // [5 s, 90 s] between two moves of a model
  // Requests.
  Time waiting = std::chrono::seconds(10);      // [8 s, 15 s] for a model without any instance
  Time keep_answer = std::chrono::seconds(60);  // [30 s, 60 s] of a finished one, for repeating
};

}  // namespace exo::cluster
