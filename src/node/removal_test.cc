// What is said of removed models, and waiting for devices that say it.
#include "node/removal.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::milliseconds;

constexpr NodeId kDesk{{1}}, kAttic{{2}};

TEST(RemovalTest, SaysWhatIsDeletedAndWhatStaysAndWhy) {
  EXPECT_EQ(DescribeRemoved({}), "nothing to delete is here");
  EXPECT_EQ(DescribeRemoved({.files = {.bytes = 1 << 20}, .tensor_bytes = 1 << 20}),
            "deleted 2.0 MiB");
  EXPECT_EQ(DescribeRemoved({.files = {.brought_by_others = {"/hub/a"}, .in_use = {"/blobs/b"}},
                             .own_file = "/mnt/c.gguf"}),
            "nothing to delete is here; /hub/a stays: it was here before exo pulled it; /blobs/b "
            "stays: another model here uses it; /mnt/c.gguf stays: exo has not downloaded it");
}

class RemovalRoundTest : public testing::Test {
 protected:
  RemovalRound Round(Time limit) {
    return {loop_, limit, [this](std::vector<RemovalView> views) {
              ++ended_;
              loop_.Stop();
              views_ = std::move(views);
            }};
  }
  net::EventLoop loop_;
  std::vector<RemovalView> views_;
  int ended_ = 0;
};

TEST_F(RemovalRoundTest, EndsWhenAllHaveAnswered) {
  auto round = Round(std::chrono::hours(1));
  round.Missing("laptop", "is not here");
  round.Expect(kDesk, "desk");
  round.Expect(kAttic, "attic");
  round.Begin();
  round.Answer(kDesk, true, 5, "deleted 5 B");
  round.Answer(kDesk, true, 7, "again");
  round.Answer(NodeId{{9}}, true, 7, "nobody asked");
  EXPECT_EQ(ended_, 0);
  round.Answer(kAttic, false, 0, "the disk is read-only");
  ASSERT_EQ(ended_, 1);
  ASSERT_EQ(views_.size(), 3u);
  EXPECT_EQ(views_[0].device, "laptop");
  EXPECT_FALSE(views_[0].ok);
  EXPECT_EQ(views_[1].freed_bytes, 5u);
  EXPECT_EQ(views_[2].said, "the disk is read-only");
}

TEST_F(RemovalRoundTest, WhoIsSilentIsTold) {
  auto round = Round(milliseconds(1));
  round.Expect(kDesk, "desk");
  round.Begin();
  loop_.Run();
  EXPECT_EQ(ended_, 1);
  ASSERT_EQ(views_.size(), 1u);
  EXPECT_FALSE(views_[0].ok);
  EXPECT_NE(views_[0].said.find("no answer"), std::string::npos);
}

TEST_F(RemovalRoundTest, EndsAtOnceWhereNobodyIsAsked) {
  auto round = Round(std::chrono::hours(1));
  round.Begin();
  EXPECT_EQ(ended_, 1);
  EXPECT_TRUE(views_.empty());
}

}  // namespace
}  // namespace exo::node
