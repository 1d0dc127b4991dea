// Who downloads what several members want, and who goes on for others.
#include "node/pull_peers.h"

#include <gtest/gtest.h>

#include <array>

namespace exo::node {
namespace {

using Where = Elsewhere::Where;

constexpr Hash256 kContent{{7}}, kOther{{8}};

NodeId Id(uint8_t first) {
  return NodeId{{first}};
}

wire::NodeRecord Downloading(uint8_t id, const std::string& name) {
  return {.id = Id(id), .name = name, .downloads = {kOther, kContent}};
}

TEST(PullPeersTest, NobodyElseAndNowhereDiffer) {
  EXPECT_EQ(FindElsewhere({}, Id(1), kContent, false).where, Where::kAlone);
  const std::array others{wire::NodeRecord{.id = Id(2), .downloads = {kOther}}};
  EXPECT_EQ(FindElsewhere(others, Id(1), kContent, false).where, Where::kNowhere);
}

TEST(PullPeersTest, TheSmallerIdOfTwoThatAnnounceTheSameDownloads) {
  const std::array larger{Downloading(3, "desk")}, smaller{Downloading(1, "attic")};
  EXPECT_EQ(FindElsewhere(larger, Id(2), kContent, true).where, Where::kNowhere);
  const Elsewhere found = FindElsewhere(smaller, Id(2), kContent, true);
  EXPECT_EQ(found.where, Where::kComing);
  EXPECT_EQ(found.device, "attic");
  // Who has not announced it yet is late, whatever its id.
  EXPECT_EQ(FindElsewhere(larger, Id(2), kContent, false).where, Where::kComing);
  // Of three, all but one find somebody to wait for.
  const std::array both{Downloading(1, "attic"), Downloading(3, "desk")};
  EXPECT_EQ(FindElsewhere(both, Id(2), kContent, true).device, "attic");
  const std::array rest{Downloading(2, "hall"), Downloading(3, "desk")};
  EXPECT_EQ(FindElsewhere(rest, Id(1), kContent, true).where, Where::kNowhere);
}

TEST(PullPeersTest, WhatAMemberHasInFullComesFirst) {
  wire::NodeRecord has{.id = Id(9), .name = "nas"};
  has.models.push_back({.name = "m", .complete = false, .content = kContent});
  const std::array partly{Downloading(1, "attic"), has};
  EXPECT_EQ(FindElsewhere(partly, Id(2), kContent, true).where, Where::kComing);
  has.models[0].complete = true;
  const std::array wholly{Downloading(1, "attic"), has};
  const Elsewhere found = FindElsewhere(wholly, Id(2), kContent, true);
  EXPECT_EQ(found.where, Where::kThere);
  EXPECT_EQ(found.device, "nas");
  EXPECT_EQ(found.name, "m");
}

TEST(PullPeersTest, KnowsWhatOthersWaitFor) {
  const std::array others{Downloading(1, "attic"),
                          wire::NodeRecord{.id = Id(2), .awaits = {kContent}}};
  EXPECT_TRUE(IsAwaited(others, kContent));
  EXPECT_FALSE(IsAwaited(others, kOther));
  EXPECT_FALSE(IsAwaited({}, kContent));
}

}  // namespace
}  // namespace exo::node
