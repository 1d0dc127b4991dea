// Loaded stages whose plan has ended: a new plan for the same stage takes one over, with its
// weights and the sequences it holds, and loads nothing.
//
// They are a cache: nothing is reserved for them. What is kept here was within the budget before,
// and it is given up before anything else is loaded and after StageTimers::keep. A plan that ends
// by an unload keeps nothing.
//
// Thread: any.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/units.h"
#include "engine/stage_worker.h"
#include "engine/timers.h"
#include "wire/plan.h"

namespace exo::engine {

// What decides a stage's bits and memory.
struct StageKey {
  ModelId model;
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  bool lead = false;
  uint8_t kv_type = 0;
  uint32_t chunk = 0;
  std::optional<wire::ShardPlan> shard = {};
  uint32_t streamed = 0;
  std::vector<ModelId> adapters = {};  // in the plan's order, by which steps name them
  wire::WireLoss loss = {};            // of the rows that its sequences were computed from
  friend auto operator<=>(const StageKey&, const StageKey&) = default;
};
StageKey KeyOf(const wire::Plan& plan, uint32_t stage);

class StageStore {
 public:
  explicit StageStore(Time keep = StageTimers{}.keep) : keep_(keep) {}

  // Null: not here.
  std::unique_ptr<StageWorker> Take(const StageKey& key);
  void Put(const StageKey& key, std::unique_ptr<StageWorker> stage, Time now);
  // Memory is wanted.
  void Clear();
  void DropExpired(Time now);
  size_t size() const;

 private:
  struct Kept {
    std::unique_ptr<StageWorker> stage;
    Time since{};
  };
  const Time keep_;
  mutable Mutex mutex_;
  std::map<StageKey, Kept> kept_ EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::engine
