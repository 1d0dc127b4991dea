// A fixed set of compute threads that share the items of one job through a counter, so that unequal
// or busy cores take what they can. The calling thread works too.
//
// Workers spin for at most kSpin after a job and then sleep: home computers are never idle, and a
// spinning thread that is descheduled stalls its peers (research: 2-5x loss with one competitor).
// A job ends when its items are done, not when every worker has looked at it.
//
// Compute jobs run one after the other in the order they came. Background jobs (packing weights
// while another model answers) take the workers only when no compute job waits, give them back
// after the item they are in, and beside busy compute use at most a quarter of the time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace exo::sys {

class ThreadPool {
 public:
  static constexpr std::chrono::microseconds kSpin{50};

  // Starts threads - 1 workers (the caller is the first). `on_start` runs once on each worker.
  explicit ThreadPool(unsigned threads, std::function<void()> on_start = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(workers_.size()) + 1; }

  // Calls work(item, worker) once for each item in [0, items), worker < threads(), and returns when
  // all are done. When *cancel becomes true, items not yet begun are skipped; returns false then.
  // Thread: any; jobs of several callers run one after the other. `work` must not call Run.
  bool Run(uint32_t items, const std::function<void(uint32_t item, unsigned worker)>& work,
           const std::atomic<bool>* cancel = nullptr);

  // The same for a job that must not delay compute: its items should take at most a millisecond,
  // because that is what a compute job waits. With `threads()` of 1 all items run on the caller.
  bool RunBackground(uint32_t items,
                     const std::function<void(uint32_t item, unsigned worker)>& work,
                     const std::atomic<bool>* cancel = nullptr);

  // Compute jobs that wait for their turn.
  uint32_t waiting() const { return turns_.waiting().load(); }
  // Time that jobs, background ones too, have taken since start.
  std::chrono::nanoseconds busy() const { return turns_.worked(); }
  // Items finished since start: heartbeats carry it as a sign of progress.
  uint64_t items_done() const { return items_done_.load(std::memory_order_relaxed); }
  // Work that compute waits for, done by another thread, is progress too.
  void CountItem() { items_done_.fetch_add(1, std::memory_order_relaxed); }

 private:
  using Work = std::function<void(uint32_t, unsigned)>;
  // The ticket is {generation, next item}. Workers claim an item by compare-exchange, so that a
  // worker that slept through a job can never take an item of the next one with the old job's
  // fields.
  static constexpr uint32_t kClosed = 0xffffffff;
  static constexpr uint64_t Ticket(uint32_t generation, uint32_t item) {
    return uint64_t{generation} << 32 | item;
  }

  // Whose turn it is to use the workers.
  class Turns {
   public:
    using Clock = std::chrono::steady_clock;
    void Enter();
    void Leave();
    // False when *cancel became true.
    bool EnterBackground(const std::atomic<bool>* cancel);
    void LeaveBackground();
    // Compute jobs that wait: a background job gives way when there are any.
    const std::atomic<uint32_t>& waiting() const { return waiting_; }
    std::chrono::nanoseconds worked() const { return std::chrono::nanoseconds(worked_.load()); }

   private:
    // Ends the turn; how long it took.
    Clock::duration End(Clock::time_point now) EXO_REQUIRES(mutex_);

    Mutex mutex_;
    CondVar changed_;
    bool busy_ EXO_GUARDED_BY(mutex_) = false;
    uint64_t next_ EXO_GUARDED_BY(mutex_) = 0;                 // ticket of the next compute job
    uint64_t serving_ EXO_GUARDED_BY(mutex_) = 0;              // the one whose turn it is
    Clock::time_point last_compute_ EXO_GUARDED_BY(mutex_);    // when the last one ended
    Clock::time_point began_ EXO_GUARDED_BY(mutex_);           // of the turn
    Clock::time_point background_due_ EXO_GUARDED_BY(mutex_);  // no background job before
    std::atomic<uint32_t> waiting_{0};                         // written under mutex_
    std::atomic<int64_t> worked_{0};                           // nanoseconds, likewise
  };

  void WorkerMain(unsigned worker);
  uint32_t Share(uint32_t items, const Work& work, const std::atomic<bool>* cancel,
                 const std::atomic<uint32_t>* yield);
  void TakeItems(unsigned worker);
  bool WaitForJob(uint32_t seen);

  Turns turns_;
  std::atomic<uint64_t> ticket_{Ticket(0, kClosed)};
  std::atomic<const Work*> work_{nullptr};
  std::atomic<uint32_t> items_{0};
  std::atomic<const std::atomic<bool>*> cancel_{nullptr};
  std::atomic<const std::atomic<uint32_t>*> yield_{nullptr};  // above 0: take no more items
  std::atomic<uint32_t> last_{0};                             // items done at the job's end
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> wake_{0};
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> items_done_{0};
  std::function<void()> on_start_;
  std::vector<std::thread> workers_;
};

}  // namespace exo::sys
