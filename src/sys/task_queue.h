// A few threads for work that would hold the event loop for more than 5 ms: hashing, tokenizing,
// templates, files. Tasks run in the order of their posts (one thread: strictly one after the
// other).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

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

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stop_ = false;                        // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace exo::sys
