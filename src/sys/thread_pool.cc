#include "sys/thread_pool.h"

#include <algorithm>

#include "base/check.h"

namespace exo::sys {
namespace {

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready()` or kSpin has passed; true when ready.
template <class Ready>
bool SpinUntil(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + ThreadPool::kSpin;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      CpuRelax();
    }
    if (std::chrono::steady_clock::now() >= end) return ready();
  }
}

}  // namespace

ThreadPool::ThreadPool(unsigned threads, std::function<void()> on_start)
    : on_start_(std::move(on_start)) {
  for (unsigned worker = 1; worker < std::max(threads, 1u); ++worker) {
    workers_.emplace_back([this, worker] { WorkerMain(worker); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool ThreadPool::Run(uint32_t items, const Work& work, const std::atomic<bool>* cancel) {
  const std::lock_guard lock(run_mutex_);
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  if (items == 0) return !cancelled();
  CHECK_LT(items, kClosed);
  if (workers_.empty() || items == 1) {
    for (uint32_t item = 0; item < items; ++item) {
      if (cancelled()) return false;
      work(item, 0);
      items_done_.fetch_add(1, std::memory_order_relaxed);
    }
    return true;
  }
  const uint32_t generation = static_cast<uint32_t>(ticket_.load() >> 32) + 1;
  ticket_.store(Ticket(generation, kClosed));
  work_.store(&work);
  items_.store(items);
  cancel_.store(cancel);
  done_.store(0);
  ticket_.store(Ticket(generation, 0));
  wake_.fetch_add(1);
  if (sleepers_.load() > 0) wake_.notify_all();

  TakeItems(0);
  if (!SpinUntil([&] { return done_.load(std::memory_order_acquire) == items; })) {
    for (uint32_t done = done_.load(); done != items; done = done_.load()) done_.wait(done);
  }
  ticket_.store(Ticket(generation, kClosed));
  return !cancelled();
}

void ThreadPool::TakeItems(unsigned worker) {
  for (;;) {
    uint64_t ticket = ticket_.load();
    const uint32_t item = static_cast<uint32_t>(ticket);
    const uint32_t items = items_.load();
    const Work* work = work_.load();
    const std::atomic<bool>* cancel = cancel_.load();
    if (item == kClosed || item >= items) return;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    if (cancel == nullptr || !cancel->load(std::memory_order_relaxed)) (*work)(item, worker);
    items_done_.fetch_add(1, std::memory_order_relaxed);
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == items) done_.notify_all();
  }
}

bool ThreadPool::WaitForJob(uint32_t seen) {
  if (!SpinUntil([&] { return wake_.load(std::memory_order_acquire) != seen; })) {
    sleepers_.fetch_add(1);
    wake_.wait(seen);
    sleepers_.fetch_sub(1);
  }
  return !stop_.load();
}

void ThreadPool::WorkerMain(unsigned worker) {
  if (on_start_) on_start_();
  uint32_t seen = 0;
  while (!stop_.load()) {
    TakeItems(worker);
    if (!WaitForJob(seen)) return;
    seen = wake_.load();
  }
}

}  // namespace exo::sys
