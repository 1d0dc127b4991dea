#include "node/link_keeper.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const LinkKeeper::Path kPath{"10.0.0.1", "10.0.0.2"};
const LinkFigures kFigures{.rtt_ms = 0.4, .rtt_p99_ms = 1.5, .mbps = 900};

NodeId Id(uint8_t number) {
  return NodeId{{number}};
}

class LinkKeeperTest : public testing::Test {
 protected:
  std::optional<LinkKeeper::Job> Next(bool quiet = true) {
    return keeper_.Next(now_, {{Id(1), quiet}, {Id(2), quiet}});
  }
  void Measured(uint8_t peer, bool large = true, double heartbeat_ms = 0.5) {
    LinkFigures figures = kFigures;
    if (!large) figures.mbps = 0;
    keeper_.OnMeasured({Id(peer), kPath, large, true}, LinkKeeper::Stored{figures, 100},
                       heartbeat_ms, now_);
  }
  void MeasuredBusy(double rtt_ms, double rtt_p99_ms) {
    const LinkFigures figures{.rtt_ms = rtt_ms, .rtt_p99_ms = rtt_p99_ms};
    keeper_.OnMeasured({Id(1), kPath, false, false}, LinkKeeper::Stored{figures, 100}, 0.5, now_);
  }
  // Up, and measured when all have started.
  void Settle() {
    keeper_.OnUp(Id(1), kPath, now_, Time{});
    now_ += seconds(2);
    Measured(1);
    now_ += seconds(14);
    Measured(1, false);
  }
  Time now_ = hours(5);
  LinkKeeper keeper_;
};

TEST_F(LinkKeeperTest, ANewSessionIsMeasuredSoonAndAnHourLater) {
  EXPECT_FALSE(Next());
  keeper_.OnUp(Id(1), kPath, now_, Time{});
  EXPECT_FALSE(Next()) << "too young";
  EXPECT_TRUE(keeper_.Records().empty());
  now_ += seconds(2);
  const auto job = Next();
  ASSERT_TRUE(job);
  EXPECT_EQ(job->peer, Id(1));
  EXPECT_EQ(job->path, kPath);
  EXPECT_TRUE(job->large);
  Measured(1);
  ASSERT_EQ(keeper_.Records().size(), 1u);
  const wire::LinkRecord record = keeper_.Records()[0];
  EXPECT_EQ(record, (wire::LinkRecord{.to = Id(1),
                                      .host = "10.0.0.1",
                                      .rtt_ms = 0.4,
                                      .rtt_p99_ms = 1.5,
                                      .mbps = 900,
                                      .measured_s = 100}));
  now_ += seconds(14);
  ASSERT_TRUE(Next()) << "both ends were starting";
  EXPECT_FALSE(Next()->large);
  EXPECT_FALSE(Next(false));
  Measured(1, false);
  now_ += minutes(59);
  EXPECT_FALSE(Next());
  now_ += minutes(1);
  EXPECT_TRUE(Next());
  keeper_.OnDown(Id(1));
  EXPECT_FALSE(Next());
  EXPECT_TRUE(keeper_.Records().empty());
}

TEST_F(LinkKeeperTest, LargeFramesWaitForQuiet) {
  keeper_.OnUp(Id(1), kPath, now_, Time{});
  now_ += seconds(2);
  ASSERT_TRUE(Next(false));
  EXPECT_FALSE(Next(false)->large);
  Measured(1, false);
  EXPECT_FALSE(Next(false));
  ASSERT_TRUE(Next(true));
  EXPECT_TRUE(Next(true)->large);
  // Somebody began to compute in the middle of it.
  keeper_.OnMeasured({Id(1), kPath, true, true},
                     LinkKeeper::Stored{{.rtt_ms = 1, .rtt_p99_ms = 1}, 1}, 0.5, now_);
  EXPECT_FALSE(Next(true));
  now_ += seconds(10);
  EXPECT_TRUE(Next(true));
}

TEST_F(LinkKeeperTest, TheOneThatWaitsLongestComesFirst) {
  keeper_.OnUp(Id(1), kPath, now_, seconds(2));
  keeper_.OnUp(Id(2), kPath, now_, seconds(1));
  now_ += seconds(5);
  EXPECT_EQ(Next()->peer, Id(2));
  Measured(2);
  EXPECT_EQ(Next()->peer, Id(1));
}

TEST_F(LinkKeeperTest, WhoCannotBeMeasuredIsNotAskedAllTheTime) {
  keeper_.OnUp(Id(1), kPath, now_, Time{});
  now_ += seconds(2);
  keeper_.OnMeasured(*Next(), std::nullopt, 0, now_);
  now_ += minutes(4);
  EXPECT_FALSE(Next());
  now_ += minutes(1);
  EXPECT_TRUE(Next());
}

// A device that computes holds frames up now and then: that is not its link.
TEST_F(LinkKeeperTest, TheLongestFramesAreThoseOfQuietEnds) {
  Settle();
  now_ += seconds(20);
  MeasuredBusy(0.5, 50);
  EXPECT_EQ(keeper_.Records()[0].rtt_ms, 0.5);
  EXPECT_EQ(keeper_.Records()[0].rtt_p99_ms, 1.5);
  EXPECT_FALSE(Next());
  now_ += seconds(10);
  EXPECT_FALSE(Next(false));
  ASSERT_TRUE(Next()) << "looked at again in a quiet moment";
  MeasuredBusy(9, 9.5);
  EXPECT_EQ(keeper_.Records()[0].rtt_p99_ms, 9) << "no longer than the longest";
}

TEST_F(LinkKeeperTest, HeartbeatsThatTakeLongerAskForANewMeasurement) {
  Settle();
  const auto hear = [&](double ms) {
    now_ += seconds(11);
    keeper_.LearnHeartbeat(Id(1), ms, now_);
    return Next().has_value();
  };
  EXPECT_FALSE(hear(0.5));
  EXPECT_FALSE(hear(1.2)) << "loops that were busy";
  EXPECT_TRUE(hear(50));
  Measured(1, false, 50);
  keeper_.LearnHeartbeat(Id(1), 0.5, now_);
  EXPECT_FALSE(Next(false)) << "not again within seconds";
  EXPECT_TRUE(hear(0.5)) << "and when it is fast again";
}

TEST_F(LinkKeeperTest, AnEarlierRunsFiguresCountForTheSamePath) {
  const LinkKeeper::Stored stored{kFigures, 10'000};
  EXPECT_EQ(LinkKeeper::Read(LinkKeeper::TextOf(stored)), stored);
  for (const char* text : {"", "1 2", "0 0 0 1", "2 1 5 1", "1 2 -3 1", "a b c d"})
    EXPECT_FALSE(LinkKeeper::Read(text)) << text;
  keeper_.OnUp(Id(1), kPath, now_, Time{});
  keeper_.Restore(Id(1), {"10.0.0.1", "10.9.9.9"}, stored, 10'600, now_);
  EXPECT_TRUE(keeper_.Records().empty()) << "of another path";
  keeper_.Restore(Id(1), kPath, stored, 10'600, now_);
  ASSERT_EQ(keeper_.Records().size(), 1u);
  EXPECT_EQ(keeper_.Records()[0].measured_s, 10'000u);
  now_ += seconds(2);
  ASSERT_TRUE(Next()) << "small frames cost nothing";
  EXPECT_FALSE(Next()->large) << "measured ten minutes ago";
  Measured(1, false);
  EXPECT_EQ(keeper_.Records()[0].mbps, 900) << "still known";
  now_ += minutes(50);
  EXPECT_TRUE(Next()->large);
}

TEST_F(LinkKeeperTest, LiveFramesCorrectTheBandwidth) {
  keeper_.OnUp(Id(1), kPath, now_, Time{});
  EXPECT_FALSE(keeper_.LearnMbps(Id(1), 20, 200)) << "not measured yet";
  now_ += seconds(2);
  Measured(1);
  EXPECT_FALSE(keeper_.LearnMbps(Id(1), 20, 200));
  EXPECT_FALSE(keeper_.LearnMbps(Id(1), 900, 200));
  EXPECT_FALSE(keeper_.LearnMbps(Id(1), 950, 200)) << "one slow frame of three";
  EXPECT_FALSE(keeper_.LearnMbps(Id(1), 21, 200));
  EXPECT_TRUE(keeper_.LearnMbps(Id(1), 19, 200));
  EXPECT_EQ(keeper_.Records()[0].mbps, 21);
  EXPECT_EQ(keeper_.Records()[0].measured_s, 200u);
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(keeper_.LearnMbps(Id(1), 24, 300)) << "no news";
}

}  // namespace
}  // namespace exo::node
