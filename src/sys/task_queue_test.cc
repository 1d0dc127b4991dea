#include "sys/task_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/mutex.h"
#include "sys/system.h"

namespace exo::sys {
namespace {

// Something to wait for.
class Flag {
 public:
  void Set() {
    const MutexLock lock(mutex_);
    set_ = true;
    wake_.NotifyAll();
  }
  bool Wait(Time limit = std::chrono::seconds(60)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    const MutexLock lock(mutex_);
    while (!set_) {
      if (!wake_.WaitUntil(mutex_, deadline)) return set_;
    }
    return true;
  }

 private:
  Mutex mutex_;
  CondVar wake_;
  bool set_ EXO_GUARDED_BY(mutex_) = false;
};

constexpr Time kSoon = std::chrono::milliseconds(20);

TEST(TaskQueueTest, OneThreadRunsTasksInOrder) {
  std::vector<int> order;
  Flag done;
  TaskQueue queue(1);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(queue.Post([&order, i] { order.push_back(i); }));
  ASSERT_TRUE(queue.Post([&] { done.Set(); }));
  ASSERT_TRUE(done.Wait());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(TaskQueueTest, AStuckTaskIsReplaced) {
  Flag go_on, other;
  TaskQueue queue({.threads = 1, .max_threads = 4, .stuck_after = kSoon});
  ASSERT_TRUE(queue.Post([&] { go_on.Wait(); }));
  ASSERT_TRUE(queue.Post([&] { other.Set(); }));
  EXPECT_TRUE(other.Wait());
  go_on.Set();
}

TEST(TaskQueueTest, TasksOfOneKeyCannotTakeAllThreads) {
  Flag go_on, other;
  std::atomic<int> inside = 0;  // the queue ends first
  TaskQueue queue({.threads = 4, .max_threads = 4, .per_key = 2, .stuck_after = kSoon});
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(queue.Post("/nas", [&](const std::atomic<bool>&) {
      ++inside;
      go_on.Wait();
    }));
  }
  ASSERT_TRUE(queue.Post("/home", [&](const std::atomic<bool>&) { other.Set(); }));
  EXPECT_TRUE(other.Wait());
  EXPECT_LE(inside, 2);
  go_on.Set();
}

TEST(TaskQueueTest, AFullQueueSaysSo) {
  Flag go_on, begun;
  TaskQueue queue({.threads = 1, .max_threads = 1, .max_waiting = 3});
  ASSERT_TRUE(queue.Post([&] {
    begun.Set();
    go_on.Wait();
  }));
  ASSERT_TRUE(begun.Wait());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.Post([] {}));
  EXPECT_FALSE(queue.Post([] {}));
  go_on.Set();
}

TEST(TaskQueueTest, EndingTellsRunningTasksAndDropsWaitingOnes) {
  std::atomic<int> ran = 0;
  Flag begun;
  {
    TaskQueue queue({.threads = 1, .max_threads = 1});
    ASSERT_TRUE(queue.Post("", [&](const std::atomic<bool>& cancel) {
      begun.Set();
      while (!cancel) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++ran;
    }));
    ASSERT_TRUE(begun.Wait());
    ASSERT_TRUE(queue.Post([&] { ran += 100; }));
  }
  EXPECT_EQ(ran, 1);
}

// A task that hangs in a dead disk is left behind.
TEST(TaskQueueTest, EndingWaitsNoLongerThanItsLimit) {
  const auto go_on = std::make_shared<Flag>();
  const auto ended = std::make_shared<Flag>();
  const Time begin = Now();
  {
    Flag begun;
    TaskQueue queue({.threads = 1, .join_limit = kSoon});
    ASSERT_TRUE(queue.Post([&begun, go_on, ended] {
      begun.Set();
      go_on->Wait();
      ended->Set();
    }));
    ASSERT_TRUE(begun.Wait());
  }
  EXPECT_LT(Now() - begin, std::chrono::seconds(30));
  go_on->Set();
  EXPECT_TRUE(ended->Wait());
}

}  // namespace
}  // namespace exo::sys
