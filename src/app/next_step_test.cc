#include "app/next_step.h"

#include <gtest/gtest.h>

namespace exo::app {
namespace {

bool Says(const HomeState& state, const std::string& words) {
  return NextSteps(state).find(words) != std::string::npos;
}

TEST(NextStepTest, LeadsFromNothingToAnAnswerAndToASecondDevice) {
  EXPECT_TRUE(Says({}, "exo up"));
  EXPECT_TRUE(Says({}, "No exo node runs"));
  HomeState alone{.node_runs = true, .api_port = 52415, .name = "desk"};
  EXPECT_TRUE(Says(alone, "exo runs on desk, alone (http://localhost:52415)"));
  EXPECT_TRUE(Says(alone, "exo pull NAME"));
  EXPECT_FALSE(Says(alone, "exo run "));
  alone.models = {"tiny", "big"};
  EXPECT_TRUE(Says(alone, "exo run tiny"));
  EXPECT_TRUE(Says(alone, "exo invite"));
  EXPECT_FALSE(Says(alone, "are nearby"));
  alone.strangers = 1;
  EXPECT_TRUE(Says(alone, "others with exo are nearby"));
  alone.running = {"big"};
  EXPECT_TRUE(Says(alone, "exo run big"));
}

TEST(NextStepTest, OfAClusterTellsWhoAsksAndNamesAreEscaped) {
  const HomeState home{.node_runs = true,
                       .name = "desk",
                       .others = 2,
                       .pending = {"lap\x1b[2Jtop"},
                       .models = {"a", "b", "c", "d", "e", "f", "g"}};
  EXPECT_TRUE(Says(home, "with 2 other devices"));
  EXPECT_TRUE(Says(home, "lap\\x1b[2Jtop asks to be let in"));
  EXPECT_TRUE(Says(home, "a, b, c, d, e and 2 more"));
  EXPECT_FALSE(Says(home, "exo invite"));
}

}  // namespace
}  // namespace exo::app
