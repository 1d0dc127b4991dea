#include "node/jobs.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

namespace exo::node {
namespace {

TEST(JobsTest, EveryStageThatStopsIsHeardOf) {
  constexpr int kStages = 5000;
  net::EventLoop loop;
  Jobs jobs(loop);
  std::promise<void> go_on;
  const std::shared_future<void> may_end = go_on.get_future().share();
  int heard = 0;
  for (int i = 0; i < kStages; ++i) {
    ASSERT_TRUE(jobs.Run(
        Jobs::Class::kJoin, {},
        [may_end](const std::atomic<bool>&) {
          return may_end.wait_for(std::chrono::seconds(60)) == std::future_status::ready;
        },
        [&](bool ended) {
          heard += ended ? 1 : 0;
          if (heard == kStages || !ended) loop.Stop();
        }));
  }
  go_on.set_value();
  loop.Run();
  EXPECT_EQ(heard, kStages);
}

}  // namespace
}  // namespace exo::node
