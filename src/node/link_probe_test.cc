#include "node/link_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "engine/test_link.h"
#include "node/bulk_server.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// A way on which a frame takes half of `rtt` and the time of its bytes; the answer the other half.
class SlowLink final : public engine::DataLink {
 public:
  SlowLink(Time rtt, double mbps) : rtt_(rtt), mbps_(mbps) {}

  Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                    Time) override {
    number_ = std::get<wire::LinkProbe>(message).number;
    largest = std::max(largest, tensor.size());
    bytes += tensor.size();
    const std::chrono::duration<double, std::micro> takes(static_cast<double>(tensor.size()) * 8 /
                                                          mbps_);
    answer_at_ = sys::Now() + rtt_ + std::chrono::duration_cast<Time>(takes);
    return {};
  }
  Result<Outcome> Poll(Time, int) override {
    if (silent) return Outcome{};
    // Without the scheduler's grain.
    while (sys::Now() < answer_at_ - std::chrono::microseconds(200))
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    while (sys::Now() < answer_at_) {
    }
    answer = wire::LinkEcho{number_ + wrong};
    return Outcome{Event::kFrame, {&answer, {}}};
  }
  void SetFrameLimit(uint64_t) override {}
  void Overlap() override {}
  void Shutdown() override {}
  const NodeId& peer() const override { return peer_; }

  size_t largest = 0, bytes = 0;
  bool silent = false;
  uint32_t wrong = 0;
  wire::Message answer;

 private:
  const Time rtt_;
  const double mbps_;
  const NodeId peer_{{1}};
  uint32_t number_ = 0;
  Time answer_at_{};
};

const std::atomic<bool> kGo = false, kStop = true;
LinkTurn turn(NodeId{{1}});

TEST(LinkProbeTest, MeasuresRoundTripsAndBandwidth) {
  SlowLink link(std::chrono::milliseconds(2), 200);
  const auto figures = ProbeLink(link, kGo, turn);
  ASSERT_TRUE(figures) << figures.error().message;
  // A busy machine adds to times, never takes away.
  EXPECT_GE(figures->rtt_ms, 2);
  EXPECT_LT(figures->rtt_ms, 20);
  EXPECT_GE(figures->rtt_p99_ms, figures->rtt_ms);
  EXPECT_LT(figures->mbps, 210);
  EXPECT_GT(figures->mbps, 50);
  EXPECT_LE(link.bytes, kMaxProbeBytes);
  EXPECT_EQ(link.largest, 256u << 10);
}

TEST(LinkProbeTest, ASlowWayIsNotHeldUpForLongerThanASecond) {
  SlowLink link(std::chrono::milliseconds(1), 1);
  const Time start = sys::Now();
  const auto figures = ProbeLink(link, kGo, turn);
  ASSERT_TRUE(figures);
  EXPECT_NEAR(figures->mbps, 1, 0.3);
  EXPECT_LE(link.largest, 64u << 10);
  EXPECT_LT(sys::Now() - start, std::chrono::seconds(10)) << "the small frames included";
}

TEST(LinkProbeTest, NoLargeFramesWhereTheLinkIsWanted) {
  SlowLink link(std::chrono::milliseconds(1), 100);
  const auto figures = ProbeLink(link, kStop, turn);
  ASSERT_TRUE(figures);
  EXPECT_GT(figures->rtt_ms, 0.9);
  EXPECT_EQ(figures->mbps, 0);
  EXPECT_EQ(link.bytes, 0u);
}

// Both ends measure from the same moment on. Each link keeps count of who is in the middle of it.
TEST(LinkProbeTest, TwoThatMeasureEachOtherDoItInTurn) {
  const NodeId ids[] = {NodeId{{1}}, NodeId{{2}}};
  const std::shared_ptr<LinkTurn> turns[] = {std::make_shared<LinkTurn>(ids[0]),
                                             std::make_shared<LinkTurn>(ids[1])};
  BulkServer servers[2];
  Time begun[2], ended[2];
  std::vector<std::thread> threads;
  for (int own = 0; own < 2; ++own) servers[own].TakeTurns(turns[own]);
  for (int own = 0; own < 2; ++own) turns[own]->Ask(ids[1 - own]);
  for (int own = 0; own < 2; ++own) {
    auto [near, far] = engine::TestLink::Pair(ids[own], ids[1 - own], std::chrono::milliseconds(1));
    servers[1 - own].Serve(std::move(far), /*member=*/true);
    threads.emplace_back([&, own, link = std::move(near)] {
      const auto figures = ProbeLink(*link, kGo, *turns[own]);
      ended[own] = sys::Now();
      turns[own]->End();
      EXPECT_TRUE(figures) << figures.error().message;
      const std::chrono::duration<double, std::milli> least(40 * figures->rtt_ms);
      begun[own] = ended[own] - std::chrono::duration_cast<Time>(least);
      link->Shutdown();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(begun[1], ended[0]);
}

TEST(LinkProbeTest, WhoDoesNotAnswerIsNamed) {
  SlowLink link(std::chrono::milliseconds(1), 100);
  link.wrong = 1;
  EXPECT_EQ(ProbeLink(link, kGo, turn).error().code, ErrorCode::kCorrupt);
  link.silent = true;
  const Error error = ProbeLink(link, kGo, turn).error();
  EXPECT_EQ(error.code, ErrorCode::kDisconnected);
  EXPECT_TRUE(error.message.contains(link.peer().Short())) << error.message;
}

TEST(LinkProbeTest, TheServerOfWeightsAnswers) {
  auto [near, far] = engine::TestLink::Pair(NodeId{{1}}, NodeId{{2}}, std::chrono::milliseconds(1));
  BulkServer server;
  server.Serve(std::move(far), /*member=*/true);
  const auto figures = ProbeLink(*near, kGo, turn);
  ASSERT_TRUE(figures) << figures.error().message;
  EXPECT_GE(figures->rtt_ms, 2);
  EXPECT_GT(figures->mbps, 0);
  near->Shutdown();
}

}  // namespace
}  // namespace exo::node
