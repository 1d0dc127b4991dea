#include "sys/task_queue.h"

#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <thread>

#include "base/mutex.h"
#include "base/thread.h"
#include "sys/system.h"

namespace exo::sys {

struct TaskQueue::Shared : std::enable_shared_from_this<TaskQueue::Shared> {
  struct Waiting {
    std::string key;
    Task task;
  };
  struct Running {
    std::string key;
    Time begin{};
    bool stuck = false;
  };

  explicit Shared(TaskQueueOptions given) : options(given) {}

  // --- under the mutex ---

  std::deque<Waiting>::iterator FindRunnable() EXO_REQUIRES(mutex) {
    for (auto one = waiting.begin(); one != waiting.end(); ++one) {
      const auto of_key = std::ranges::count(running, one->key, &Running::key);
      if (one->key.empty() || of_key < static_cast<std::ptrdiff_t>(options.per_key)) return one;
    }
    return waiting.end();
  }
  size_t StuckCount() const EXO_REQUIRES(mutex) {
    return static_cast<size_t>(std::ranges::count(running, true, &Running::stuck));
  }
  void MarkStuck() EXO_REQUIRES(mutex) {
    for (Running& one : running) one.stuck = Now() - one.begin >= options.stuck_after;
  }
  bool MayBegin() const EXO_REQUIRES(mutex) {
    return running.size() - StuckCount() < options.threads;
  }
  // A thread more when there is work that no idle thread will take.
  void Grow() EXO_REQUIRES(mutex) {
    if (stop || idle > 0 || threads >= options.max_threads || !MayBegin()) return;
    if (FindRunnable() == waiting.end()) return;
    ++threads;
    StartThread([self = shared_from_this()] { self->Main(); }).detach();
    if (!watching) {
      watching = true;
      StartThread([self = shared_from_this()] { self->Watch(); }).detach();
    }
  }

  // --- threads ---

  void Main() {
    mutex.Lock();
    while (!stop) {
      const auto next = MayBegin() ? FindRunnable() : waiting.end();
      if (next == waiting.end()) {
        // Threads beyond the usual number go away again.
        if (threads > options.threads + StuckCount()) break;
        ++idle;
        wake.Wait(mutex);
        --idle;
        continue;
      }
      Waiting one = std::move(*next);
      waiting.erase(next);
      const auto self = running.insert(running.end(), {.key = one.key, .begin = Now()});
      Grow();  // for what was posted while this thread was waking up
      mutex.Unlock();
      one.task(cancel);
      one.task = nullptr;  // what it holds goes without the lock
      mutex.Lock();
      running.erase(self);
      wake.NotifyAll();
    }
    --threads;
    ended.NotifyAll();
    mutex.Unlock();
  }

  // Looks for stuck tasks while others wait for them.
  void Watch() {
    const MutexLock lock(mutex);
    while (!stop) {
      if (waiting.empty()) {
        wake.Wait(mutex);
        continue;
      }
      wake.WaitUntil(mutex, std::chrono::steady_clock::now() + options.stuck_after / 4);
      MarkStuck();
      Grow();
      if (idle > 0 && MayBegin()) wake.NotifyAll();
    }
    watching = false;
    ended.NotifyAll();
  }

  const TaskQueueOptions options;
  std::atomic<bool> cancel{false};
  Mutex mutex;
  CondVar wake, ended;
  std::deque<Waiting> waiting EXO_GUARDED_BY(mutex);
  std::list<Running> running EXO_GUARDED_BY(mutex);
  unsigned threads EXO_GUARDED_BY(mutex) = 0;
  unsigned idle EXO_GUARDED_BY(mutex) = 0;
  bool watching EXO_GUARDED_BY(mutex) = false;
  bool stop EXO_GUARDED_BY(mutex) = false;
};

TaskQueue::TaskQueue(TaskQueueOptions options) : shared_(std::make_shared<Shared>(options)) {}

TaskQueue::~TaskQueue() {
  Stop();
  const auto limit = std::chrono::steady_clock::now() + shared_->options.join_limit;
  const MutexLock lock(shared_->mutex);
  while (shared_->threads > 0 || shared_->watching) {
    if (!shared_->ended.WaitUntil(shared_->mutex, limit)) break;
  }
}

void TaskQueue::Stop() {
  std::deque<Shared::Waiting> dropped;
  {
    const MutexLock lock(shared_->mutex);
    shared_->stop = true;
    shared_->cancel.store(true);
    dropped.swap(shared_->waiting);
  }
  shared_->wake.NotifyAll();
}

bool TaskQueue::Post(std::string key, Task task) {
  const MutexLock lock(shared_->mutex);
  if (shared_->stop || shared_->waiting.size() >= shared_->options.max_waiting) return false;
  shared_->waiting.push_back({std::move(key), std::move(task)});
  shared_->Grow();
  shared_->wake.NotifyAll();
  return true;
}

}  // namespace exo::sys
