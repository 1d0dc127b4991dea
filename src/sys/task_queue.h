// Threads for work that would hold the event loop: one queue per class of work (processor, files,
// network), so that no class waits for another. Bounded, and every task can be told to stop.
//
// A task that blocks (a network drive that does not answer) is counted out after `stuck_after`:
// another thread takes its place, up to `max_threads`. Tasks of one key, such as a folder, run at
// most `per_key` at a time, so that one dead device cannot take all threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/units.h"

namespace exo::sys {

struct TaskQueueOptions {
  unsigned threads = 2;       // at work at once, stuck ones aside
  unsigned max_threads = 16;  // with the stuck ones
  unsigned per_key = 2;
  size_t max_waiting = 1024;
  Time stuck_after = std::chrono::seconds(2);
  // How long the destructor waits for running tasks before it leaves them behind. Tasks of a queue
  // with such a limit must own everything they touch.
  Time join_limit = std::chrono::hours(1);
};

class TaskQueue {
 public:
  // `cancel` becomes true when the queue is destroyed: long tasks look at it.
  using Task = std::function<void(const std::atomic<bool>& cancel)>;

  explicit TaskQueue(TaskQueueOptions options);
  explicit TaskQueue(unsigned threads) : TaskQueue(TaskQueueOptions{.threads = threads}) {}
  // Tasks that have not begun are dropped, running ones are told to stop.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // Tasks begin in the order of their posts as far as their keys allow. False: `max_waiting` are
  // waiting already, and the task was dropped. Thread: any.
  [[nodiscard]] bool Post(std::string key, Task task);
  [[nodiscard]] bool Post(std::function<void()> task) {
    return Post({}, [task = std::move(task)](const std::atomic<bool>&) { task(); });
  }
  // Tells running tasks to stop and drops the waiting ones; later posts are dropped too.
  void Stop();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // threads that were left behind still use it
};

}  // namespace exo::sys
