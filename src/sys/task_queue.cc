#include "sys/task_queue.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <thread>

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

  std::deque<Waiting>::iterator FindRunnable() {
    return std::ranges::find_if(waiting, [this](const Waiting& one) {
      const auto of_key = std::ranges::count(running, one.key, &Running::key);
      return one.key.empty() || of_key < static_cast<std::ptrdiff_t>(options.per_key);
    });
  }
  size_t StuckCount() const {
    return static_cast<size_t>(std::ranges::count(running, true, &Running::stuck));
  }
  void MarkStuck() {
    for (Running& one : running) one.stuck = Now() - one.begin >= options.stuck_after;
  }
  bool MayBegin() const { return running.size() - StuckCount() < options.threads; }
  // A thread more when there is work that no idle thread will take.
  void Grow() {
    if (stop || idle > 0 || threads >= options.max_threads || !MayBegin()) return;
    if (FindRunnable() == waiting.end()) return;
    ++threads;
    std::thread([self = shared_from_this()] { self->Main(); }).detach();
    if (!watching) {
      watching = true;
      std::thread([self = shared_from_this()] { self->Watch(); }).detach();
    }
  }

  // --- threads ---

  void Main() {
    std::unique_lock lock(mutex);
    while (!stop) {
      const auto next = MayBegin() ? FindRunnable() : waiting.end();
      if (next == waiting.end()) {
        // Threads beyond the usual number go away again.
        if (threads > options.threads + StuckCount()) break;
        ++idle;
        wake.wait(lock);
        --idle;
        continue;
      }
      Waiting one = std::move(*next);
      waiting.erase(next);
      const auto self = running.insert(running.end(), {.key = one.key, .begin = Now()});
      lock.unlock();
      one.task(cancel);
      one.task = nullptr;  // what it holds goes without the lock
      lock.lock();
      running.erase(self);
      wake.notify_all();
    }
    --threads;
    ended.notify_all();
  }

  // Looks for stuck tasks while others wait for them.
  void Watch() {
    std::unique_lock lock(mutex);
    while (!stop) {
      if (waiting.empty()) {
        wake.wait(lock);
        continue;
      }
      wake.wait_for(lock, options.stuck_after / 4);
      MarkStuck();
      Grow();
      if (idle > 0 && MayBegin()) wake.notify_all();
    }
    watching = false;
    ended.notify_all();
  }

  const TaskQueueOptions options;
  std::atomic<bool> cancel{false};
  std::mutex mutex;
  std::condition_variable wake, ended;
  std::deque<Waiting> waiting;  // guarded by mutex, as all below
  std::list<Running> running;
  unsigned threads = 0;
  unsigned idle = 0;
  bool watching = false;
  bool stop = false;
};

TaskQueue::TaskQueue(TaskQueueOptions options) : shared_(std::make_shared<Shared>(options)) {}

TaskQueue::~TaskQueue() {
  Stop();
  std::unique_lock lock(shared_->mutex);
  shared_->ended.wait_for(lock, shared_->options.join_limit,
                          [this] { return shared_->threads == 0 && !shared_->watching; });
}

void TaskQueue::Stop() {
  std::deque<Shared::Waiting> dropped;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    shared_->cancel.store(true);
    dropped.swap(shared_->waiting);
  }
  shared_->wake.notify_all();
}

bool TaskQueue::Post(std::string key, Task task) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->stop || shared_->waiting.size() >= shared_->options.max_waiting) return false;
  shared_->waiting.push_back({std::move(key), std::move(task)});
  shared_->Grow();
  shared_->wake.notify_all();
  return true;
}

size_t TaskQueue::stuck() const {
  const std::lock_guard lock(shared_->mutex);
  shared_->MarkStuck();
  return shared_->StuckCount();
}

}  // namespace exo::sys
