// A few threads for work that would hold the event loop for more than 5 ms: hashing, tokenizing,
// templates, files. Tasks run in the order of their posts (one thread: strictly one after the
// other).
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace exo::sys {

class TaskQueue {
 public:
  explicit TaskQueue(unsigned threads);
  // Tasks that have not begun are dropped.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  // Thread: any.
  void Post(std::function<void()> task);

 private:
  void Main();

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> tasks_ EXO_GUARDED_BY(mutex_);
  bool stop_ EXO_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace exo::sys
