#include "engine/link_traffic.h"

#include <gtest/gtest.h>

#include <array>

#include "engine/test_link.h"

namespace exo::engine {
namespace {

TEST(LinkTrafficTest, CountsWhatGoesOverTheLinksOfEachDevice) {
  NodeId here, there;
  there.bytes[0] = 1;
  LinkTraffic traffic;
  EXPECT_TRUE(traffic.Bytes().empty());
  const std::array<float, 3> rows{};
  // Two links one after the other: the counts outlive them.
  for (int i = 0; i < 2; ++i) {
    auto [own, other] = TestLink::Pair(here, there);
    const auto counted = traffic.Counted(std::move(own));
    EXPECT_EQ(counted->peer(), there);
    ASSERT_TRUE(counted->SendFloats(wire::Step{}, rows, sys::Now()));
    ASSERT_TRUE(other->SendFloats(wire::Step{}, std::span(rows).first(1), sys::Now()));
    const auto frame = counted->Poll(sys::Now());
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->frame.floats().size(), 1u);
    EXPECT_EQ(counted->Poll(sys::Now())->event, DataLink::Event::kTimeout);
  }
  const auto bytes = traffic.Bytes();
  ASSERT_EQ(bytes.size(), 1u);
  EXPECT_EQ(bytes.at(there).sent, 24u);
  EXPECT_EQ(bytes.at(there).received, 8u);
}

}  // namespace
}  // namespace exo::engine
