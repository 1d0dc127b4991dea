#include "service/findings.h"

#include <gtest/gtest.h>

namespace exo::service {
namespace {

using node::FindingState;

TEST(FindingsTest, ComeBackAsTheyWere) {
  const std::vector<node::Finding> findings = {
      {.id = "clock", .title = "the clock is right"},
      {"disk", FindingState::kProblem, "the disk is full", "0 B are free", "make room"}};
  const std::vector<node::Finding> read = FindingsIn(FindingsJson(findings));
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].state, FindingState::kOk);
  EXPECT_EQ(read[0].title, "the clock is right");
  EXPECT_EQ(read[1].id, "disk");
  EXPECT_EQ(read[1].state, FindingState::kProblem);
  EXPECT_EQ(read[1].detail, "0 B are free");
  EXPECT_EQ(read[1].fix, "make room");
}

TEST(FindingsTest, OfANewerNodeAStateMayBeUnknown) {
  const auto read = FindingsIn({{"checks", {{{"id", "disk"}, {"state", "on fire"}}}}});
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].state, FindingState::kUnknown);
  EXPECT_TRUE(FindingsIn(Json::object()).empty());
}

}  // namespace
}  // namespace exo::service
