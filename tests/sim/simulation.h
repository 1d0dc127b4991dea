// A whole cluster in virtual time and one thread: real Core, LeadMachine and StageMachine per node
// over a fake network, fake loads and a fake model. Everything follows from the seed. Faults:
// clocks that are wrong, latency, session resets, partitions, lost and doubled data frames, crash
// and restart, pause, false alarms of the initiator.
//
// Phases: chaos, then heal and quiet, then unload. Check() after each event and at the end of each
// phase.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "cluster/core.h"
#include "sim/runner.h"

namespace exo::sim {

struct SimOptions {
  uint64_t seed = 0;
  PlantedBugs bugs;
  PlantedStageBugs stage_bugs;
  Time chaos = std::chrono::seconds(20);
};

struct SimResult {
  std::string failure;     // empty: all invariants held
  uint64_t trace = 0;      // hash of everything that happened
  std::string last_error;  // of a request
  uint64_t steps = 0;      // of all cores
  uint64_t requests = 0, completed = 0, failed = 0, cancelled = 0;
  uint64_t tokens = 0;
  uint64_t placed = 0;                    // StartServing at leads
  uint64_t hybrids = 0;                   // of them of plans over groups
  uint64_t moved = 0;                     // stages of plans that made way for better ones
  uint64_t replicas = 0;                  // beyond a model's first, at the end
  uint64_t adopted = 0;                   // instances that run without their first owner at the end
  uint64_t restored = 0, lost_pages = 0;  // rows and pages of the prefix stores
  uint64_t moved_rows = 0;                // whose KV came along
  uint64_t refuted = 0;                   // guesses that further steps in flight built on
  uint64_t crashes = 0, pauses = 0, partitions = 0, resets = 0;
};

SimResult Simulate(const SimOptions& options);

// One request over several stages, without other faults: what becomes of it when a stage is slow,
// hung or frozen?
struct SlowStage {
  enum Kind { kSlow, kHung, kFrozen } kind = kSlow;
  Time step{};  // what that stage takes for a step
};
struct SlowResult {
  std::string failure;  // of the invariants
  size_t stages = 0;
  bool completed = false;
  bool failed = false;
  std::string error;  // of the request
  Time took{};        // from the fault to the end of the request
};
SlowResult SimulateSlowStage(uint64_t seed, const SlowStage& slow);

// Devices whose speed and share change while they answer slowly, and no other faults: no request
// may fail.
SimResult SimulateMoves(uint64_t seed);

// A model that runs several times, whose devices but the first, which asks, are lost and come back
// one after the other: no request may fail.
SimResult SimulateReplicas(uint64_t seed);
// Likewise layers over groups of devices.
SimResult SimulateHybrids(uint64_t seed);

}  // namespace exo::sim
