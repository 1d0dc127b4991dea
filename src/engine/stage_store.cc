#include "engine/stage_store.h"

#include <utility>
#include <vector>

namespace exo::engine {

StageKey KeyOf(const wire::Plan& plan, uint32_t stage) {
  StageKey key = {.model = plan.model,
                  .layer_begin = plan.stages[stage].layer_begin,
                  .layer_end = plan.stages[stage].layer_end,
                  .lead = stage == 0,
                  .kv_type = plan.kv_type,
                  .chunk = plan.chunk,
                  .shard = plan.stages[stage].shard,
                  .streamed = plan.stages[stage].streamed,
                  .loss = wire::LossOf(plan)};
  for (const wire::AdapterRef& adapter : plan.adapters) key.adapters.push_back(adapter.file);
  return key;
}

std::unique_ptr<StageWorker> StageStore::Take(const StageKey& key) {
  const MutexLock lock(mutex_);
  auto found = kept_.extract(key);
  return found.empty() ? nullptr : std::move(found.mapped().stage);
}

void StageStore::Put(const StageKey& key, std::unique_ptr<StageWorker> stage, Time now) {
  const MutexLock lock(mutex_);
  std::swap(kept_[key].stage, stage);
  kept_[key].since = now;
}

// Giving memory back takes a while: outside of the lock.
void StageStore::Clear() {
  std::map<StageKey, Kept> dropped;
  const MutexLock lock(mutex_);
  dropped.swap(kept_);
}

void StageStore::DropExpired(Time now) {
  std::vector<Kept> dropped;
  const MutexLock lock(mutex_);
  for (auto at = kept_.begin(); at != kept_.end();) {
    if (now - at->second.since < keep_) {
      ++at;
      continue;
    }
    dropped.push_back(std::move(at->second));
    at = kept_.erase(at);
  }
}

size_t StageStore::size() const {
  const MutexLock lock(mutex_);
  return kept_.size();
}

}  // namespace exo::engine
