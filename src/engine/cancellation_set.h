// Requests whose rows need not be computed any more, shared between the loop thread (a client went
// away) and the stage thread (a step is running). Cancelling never waits for a step: when
// everything in the running step is cancelled, its compute is told to stop.
#pragma once

#include <atomic>
#include <set>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"

namespace exo::engine {

class CancellationSet {
 public:
  // Thread: any.
  void Add(const RequestId& request) {
    const MutexLock lock(mutex_);
    requests_.insert(request);
    if (AllCancelled()) stop_.store(true);
  }
  // The sequence is closed; the id may be forgotten.
  void Forget(const RequestId& request) {
    const MutexLock lock(mutex_);
    requests_.erase(request);
  }
  // A step with rows of these requests begins; when all are cancelled already, stop() is true from
  // the start.
  void Begin(std::vector<RequestId> running) {
    const MutexLock lock(mutex_);
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

 private:
  bool AllCancelled() const EXO_REQUIRES(mutex_) {
    if (running_.empty()) return false;
    for (const RequestId& request : running_) {
      if (!requests_.contains(request)) return false;
    }
    return true;
  }

  Mutex mutex_;
  std::set<RequestId> requests_ EXO_GUARDED_BY(mutex_);
  std::vector<RequestId> running_ EXO_GUARDED_BY(mutex_);
  std::atomic<bool> stop_{false};
};

}  // namespace exo::engine
