// Requests whose rows need not be computed any more, shared between the loop thread (a client went
// away, or the lead has refuted a guess) and the stage thread (a step is running). Cancelling never
// waits for a step: when everything in the running step is cancelled, its compute is told to stop.
//
// Only requests with an open sequence or rows in the running step are remembered, so the set is
// never larger than the stage's sequences. A request whose rows have not arrived yet is computed
// for nothing; nobody reads the result.
#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"

namespace exo::engine {

class CancellationSet {
 public:
  // Thread: any.
  void Add(const RequestId& request) {
    const MutexLock lock(mutex_);
    if (!open_.contains(request)) return;
    cancelled_.insert(request);
    if (AllCancelled()) stop_.store(true);
  }
  // Only its rows in steps up to this one. Thread: any.
  void AddThrough(const RequestId& request, uint64_t step) {
    const MutexLock lock(mutex_);
    if (!open_.contains(request)) return;
    uint64_t& through = stale_[request];
    through = std::max(through, step);
    if (AllCancelled()) stop_.store(true);
  }
  // The sequence is closed.
  void Forget(const RequestId& request) {
    const MutexLock lock(mutex_);
    open_.erase(request);
    cancelled_.erase(request);
    stale_.erase(request);
  }
  // A step with rows of these requests begins; when all are cancelled already, stop() is true from
  // the start.
  void Begin(uint64_t step, std::vector<RequestId> running) {
    const MutexLock lock(mutex_);
    open_.insert(running.begin(), running.end());
    step_ = step;
    running_ = std::move(running);
    stop_.store(AllCancelled());
  }
  void End() {
    const MutexLock lock(mutex_);
    running_.clear();
    stop_.store(false);
  }
  // For StageCompute: true asks it to stop.
  const std::atomic<bool>* stop() const { return &stop_; }
  size_t size() const {
    const MutexLock lock(mutex_);
    return cancelled_.size() + stale_.size();
  }

 private:
  bool AllCancelled() const EXO_REQUIRES(mutex_) {
    if (running_.empty()) return false;
    for (const RequestId& request : running_) {
      const auto stale = stale_.find(request);
      const bool refuted = stale != stale_.end() && step_ <= stale->second;
      if (!refuted && !cancelled_.contains(request)) return false;
    }
    return true;
  }

  mutable Mutex mutex_;
  std::set<RequestId> open_ EXO_GUARDED_BY(mutex_);       // rows were computed, not closed yet
  std::set<RequestId> cancelled_ EXO_GUARDED_BY(mutex_);  // of open_
  std::map<RequestId, uint64_t> stale_ EXO_GUARDED_BY(mutex_);  // of open_: through which step
  uint64_t step_ EXO_GUARDED_BY(mutex_) = 0;                    // that runs
  std::vector<RequestId> running_ EXO_GUARDED_BY(mutex_);
  std::atomic<bool> stop_{false};
};

}  // namespace exo::engine
