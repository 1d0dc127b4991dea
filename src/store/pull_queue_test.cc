#include "store/pull_queue.h"

#include <gtest/gtest.h>

#include <future>

namespace exo::store {
namespace {

TEST(PullQueueTest, TheRarestFirstThenTheLargest) {
  PullQueue queue({10, 30, 20, 40});
  const size_t one = queue.Join({true, true, true, true});
  const size_t two = queue.Join({true, true, false, true});
  EXPECT_EQ(queue.Next(one), 2u) << "nobody else has it";
  EXPECT_EQ(queue.Next(one), 3u);
  EXPECT_EQ(queue.Next(two), 1u);
  EXPECT_EQ(queue.Next(two), 0u);
  for (size_t i = 0; i < 4; ++i) queue.Done(i);
  EXPECT_EQ(queue.Next(one), std::nullopt);
  EXPECT_TRUE(queue.finished());
}

TEST(PullQueueTest, WhatAHolderHasIsAllThatIsAskedOfIt) {
  PullQueue queue({10, 20});
  const size_t one = queue.Join({true, false});
  EXPECT_EQ(queue.Next(one), 0u);
  queue.Done(0);
  EXPECT_EQ(queue.Next(one), std::nullopt);
  EXPECT_FALSE(queue.finished());
}

TEST(PullQueueTest, OneTakesOverFromAnotherThatLeaves) {
  PullQueue queue({10});
  const size_t one = queue.Join({true});
  const size_t two = queue.Join({true});
  const auto sending = queue.Next(one);
  auto next = std::async(std::launch::async, [&] { return queue.Next(two); });
  EXPECT_EQ(next.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  queue.Leave(one, sending);
  EXPECT_EQ(next.get(), 0u);
}

TEST(PullQueueTest, NobodyWaitsAfterAStop) {
  PullQueue queue({10, 20});
  const size_t one = queue.Join({true, false});
  const size_t two = queue.Join({true, false});
  EXPECT_EQ(queue.Next(one), 0u);
  auto next = std::async(std::launch::async, [&] { return queue.Next(two); });
  queue.Stop();
  EXPECT_EQ(next.get(), std::nullopt);
  EXPECT_EQ(queue.Next(one), std::nullopt);
  EXPECT_FALSE(queue.finished());
}

}  // namespace
}  // namespace exo::store
