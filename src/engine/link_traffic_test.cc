#include "engine/link_traffic.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

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

// A link that says how wide it was after each frame.
class WideLink final : public DataLink {
 public:
  explicit WideLink(std::optional<double> mbps) : mbps_(mbps) {}
  Result<void> Send(const wire::Message&, std::span<const std::byte>, Time) override { return {}; }
  Result<Outcome> Poll(Time, int) override { return Outcome{}; }
  void SetFrameLimit(uint64_t) override {}
  void Overlap() override {}
  void Shutdown() override {}
  const NodeId& peer() const override { return peer_; }
  std::optional<double> SendMbps() override { return mbps_; }

 private:
  const std::optional<double> mbps_;
  const NodeId peer_{{3}};
};

TEST(LinkTrafficTest, LargeFramesTellHowWideALinkIs) {
  LinkTraffic traffic;
  const auto wide = traffic.Counted(std::make_unique<WideLink>(20.5));
  const std::vector<float> small(1000), large(32 << 10);
  ASSERT_TRUE(wide->SendFloats(wire::Step{}, small, sys::Now()));
  EXPECT_TRUE(traffic.TakeMbps().empty()) << "that shows how long a link is";
  ASSERT_TRUE(wide->SendFloats(wire::Step{}, large, sys::Now()));
  const auto rates = traffic.TakeMbps();
  ASSERT_EQ(rates.size(), 1u);
  EXPECT_EQ(rates.at(wide->peer()), 20.5);
  EXPECT_TRUE(traffic.TakeMbps().empty()) << "nothing new";
  const auto silent = traffic.Counted(std::make_unique<WideLink>(std::nullopt));
  ASSERT_TRUE(silent->SendFloats(wire::Step{}, large, sys::Now()));
  EXPECT_TRUE(traffic.TakeMbps().empty());
}

}  // namespace
}  // namespace exo::engine
