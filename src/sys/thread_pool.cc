#include "sys/thread_pool.h"

#include <algorithm>

#include "base/check.h"
#include "base/thread.h"

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

bool IsSet(const std::atomic<bool>* flag) {
  return flag != nullptr && flag->load(std::memory_order_relaxed);
}

// Beside compute, a background job rests three times as long as it worked: a quarter of the time.
constexpr int kComputeShare = 3;
// A pool whose last compute job ended no longer ago is still computing: a token's jobs follow each
// other within microseconds, its tokens within tens of milliseconds.
constexpr std::chrono::milliseconds kStillComputing{50};
// How long a waiting background job may not notice that it was cancelled.
constexpr std::chrono::milliseconds kCancelPoll{10};

}  // namespace

ThreadPool::ThreadPool(unsigned threads, std::function<void()> on_start)
    : on_start_(std::move(on_start)) {
  for (unsigned worker = 1; worker < std::max(threads, 1u); ++worker) {
    workers_.push_back(StartThread([this, worker] { WorkerMain(worker); }));
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Turns::Enter() {
  const MutexLock lock(mutex_);
  const uint64_t ticket = next_++;
  waiting_.fetch_add(1);
  while (busy_ || serving_ != ticket) changed_.Wait(mutex_);
  waiting_.fetch_sub(1);
  ++serving_;
  busy_ = true;
  began_ = Clock::now();
}

ThreadPool::Turns::Clock::duration ThreadPool::Turns::End(Clock::time_point now) {
  busy_ = false;
  const Clock::duration took = now - began_;
  worked_.fetch_add(std::chrono::nanoseconds(took).count());
  return took;
}

void ThreadPool::Turns::Leave() {
  {
    const MutexLock lock(mutex_);
    last_compute_ = Clock::now();
    End(last_compute_);
  }
  changed_.NotifyAll();
}

bool ThreadPool::Turns::EnterBackground(const std::atomic<bool>* cancel) {
  const MutexLock lock(mutex_);
  for (;;) {
    if (IsSet(cancel)) return false;
    const bool free = !busy_ && waiting_.load() == 0;
    const Clock::time_point now = Clock::now();
    if (free && now >= background_due_) break;
    changed_.WaitUntil(mutex_, free ? background_due_ : now + kCancelPoll);
  }
  busy_ = true;
  began_ = Clock::now();
  return true;
}

void ThreadPool::Turns::LeaveBackground() {
  {
    const MutexLock lock(mutex_);
    const Clock::time_point now = Clock::now();
    const Clock::duration took = End(now);
    const bool computing = waiting_.load() > 0 || now - last_compute_ < kStillComputing;
    background_due_ = computing ? now + kComputeShare * took : now;
  }
  changed_.NotifyAll();
}

bool ThreadPool::Run(uint32_t items, const Work& work, const std::atomic<bool>* cancel) {
  turns_.Enter();
  Share(items, work, cancel, nullptr);
  turns_.Leave();
  return !IsSet(cancel);
}

bool ThreadPool::RunBackground(uint32_t items, const Work& work, const std::atomic<bool>* cancel) {
  for (uint32_t done = 0; done < items;) {
    if (!turns_.EnterBackground(cancel)) return false;
    const Work rest = [&work, done](uint32_t item, unsigned worker) { work(done + item, worker); };
    done += Share(items - done, rest, cancel, &turns_.waiting());
    turns_.LeaveBackground();
  }
  return !IsSet(cancel);
}

// Items [0, result) are done or, when cancelled, skipped: all of them unless `yield` rises.
uint32_t ThreadPool::Share(uint32_t items, const Work& work, const std::atomic<bool>* cancel,
                           const std::atomic<uint32_t>* yield) {
  if (items == 0) return 0;
  CHECK_LT(items, kClosed);
  if (workers_.empty() || items == 1) {
    for (uint32_t item = 0; item < items; ++item) {
      if (IsSet(cancel)) return items;
      if (item > 0 && yield != nullptr && yield->load() > 0) return item;
      work(item, 0);
      items_done_.fetch_add(1, std::memory_order_relaxed);
    }
    return items;
  }
  const uint32_t generation = static_cast<uint32_t>(ticket_.load() >> 32) + 1;
  ticket_.store(Ticket(generation, kClosed));
  work_.store(&work);
  items_.store(items);
  last_.store(items);
  cancel_.store(cancel);
  yield_.store(yield);
  done_.store(0);
  ticket_.store(Ticket(generation, 0));
  wake_.fetch_add(1);
  if (sleepers_.load() > 0) wake_.notify_all();

  TakeItems(0);
  // Only a job that gave way has items that nobody took.
  const auto next = static_cast<uint32_t>(ticket_.exchange(Ticket(generation, kClosed)));
  const uint32_t taken = std::min(next, items);
  last_.store(taken);
  if (!SpinUntil([&] { return done_.load(std::memory_order_acquire) == taken; })) {
    for (uint32_t done = done_.load(); done != taken; done = done_.load()) done_.wait(done);
  }
  return taken;
}

void ThreadPool::TakeItems(unsigned worker) {
  for (bool first = true;; first = false) {
    uint64_t ticket = ticket_.load();
    const uint32_t item = static_cast<uint32_t>(ticket);
    const uint32_t items = items_.load();
    const Work* work = work_.load();
    const std::atomic<bool>* cancel = cancel_.load();
    const std::atomic<uint32_t>* yield = yield_.load();
    if (item == kClosed || item >= items) return;
    // The caller does one item at least: every turn gets on.
    if (yield != nullptr && yield->load() > 0 && !(first && worker == 0)) return;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    if (!IsSet(cancel)) (*work)(item, worker);
    items_done_.fetch_add(1, std::memory_order_relaxed);
    if (done_.fetch_add(1) + 1 == last_.load()) done_.notify_all();
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
