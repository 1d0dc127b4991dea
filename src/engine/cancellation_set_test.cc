#include "engine/cancellation_set.h"

#include <gtest/gtest.h>

#include "engine/test_ids.h"

namespace exo::engine {
namespace {

TEST(CancellationSetTest, StopsARunningStepOnlyWhenAllItsRequestsAreGone) {
  const RequestId a = Id(1), b = Id(2);
  CancellationSet cancelled;
  cancelled.Begin(1, {a, b});
  cancelled.Add(a);
  EXPECT_FALSE(cancelled.stop()->load());
  cancelled.Add(b);
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  EXPECT_FALSE(cancelled.stop()->load());
  cancelled.Begin(1, {a});
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  cancelled.Forget(a);
  cancelled.Begin(1, {a});
  EXPECT_FALSE(cancelled.stop()->load());
}

TEST(CancellationSetTest, RemembersOnlyRequestsThatHaveASequence) {
  CancellationSet cancelled;
  for (uint8_t i = 0; i < 100; ++i) cancelled.Add(Id(i));
  EXPECT_EQ(cancelled.size(), 0u) << "never here";
  cancelled.Begin(1, {Id(1)});
  cancelled.End();
  for (uint8_t i = 0; i < 100; ++i) cancelled.Add(Id(i));
  EXPECT_EQ(cancelled.size(), 1u);
  cancelled.Forget(Id(1));
  EXPECT_EQ(cancelled.size(), 0u);
  cancelled.Add(Id(1));
  EXPECT_EQ(cancelled.size(), 0u) << "closed before";
}

TEST(CancellationSetTest, RefutedRowsAreThoseOfTheStepsUpToOne) {
  const RequestId a = Id(1), b = Id(2);
  CancellationSet cancelled;
  cancelled.Begin(4, {a, b});
  cancelled.AddThrough(a, 6);
  EXPECT_FALSE(cancelled.stop()->load()) << "the other one's rows are wanted";
  cancelled.End();
  cancelled.Begin(6, {a});
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  cancelled.Begin(7, {a});
  EXPECT_FALSE(cancelled.stop()->load()) << "of the text as it is";
  cancelled.AddThrough(a, 6);
  EXPECT_FALSE(cancelled.stop()->load()) << "that came late";
  cancelled.Add(a);
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  cancelled.Forget(a);
  cancelled.AddThrough(a, 9);
  EXPECT_EQ(cancelled.size(), 0u) << "closed before";
}

}  // namespace
}  // namespace exo::engine
