#include "engine/cancellation_set.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

TEST(CancellationSetTest, StopsARunningStepOnlyWhenAllItsRequestsAreGone) {
  RequestId a, b;
  a.bytes[0] = 1;
  b.bytes[0] = 2;
  CancellationSet cancelled;
  cancelled.Begin({a, b});
  cancelled.Add(a);
  EXPECT_FALSE(cancelled.stop()->load());
  cancelled.Add(b);
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  EXPECT_FALSE(cancelled.stop()->load());
  cancelled.Begin({a});
  EXPECT_TRUE(cancelled.stop()->load());
  cancelled.End();
  cancelled.Forget(a);
  cancelled.Begin({a});
  EXPECT_FALSE(cancelled.stop()->load());
}

}  // namespace
}  // namespace exo::engine
