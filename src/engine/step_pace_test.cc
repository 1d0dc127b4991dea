#include "engine/step_pace.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// A machine that reads its weights in `read` and computes a row in `row`.
void Teach(StepPace& pace, Time read, Time row, int steps = 30) {
  for (int i = 0; i < steps; ++i) {
    pace.Learn({.streams = 4}, read);
    pace.Learn({.streams = 4, .prompts = 64}, read + 64 * row);
  }
}

TEST(StepPaceTest, AChunkTakesAboutTheTargetGap) {
  StepPace pace({.target_gap = milliseconds(250)});
  Teach(pace, milliseconds(10), milliseconds(2));
  EXPECT_EQ(pace.PromptRows(256), 120u);  // 10 + 120 x 2 = 250 ms
  EXPECT_EQ(pace.PromptRows(64), 64u);
}

TEST(StepPaceTest, ButPromptsKeepMostOfTheirSpeed) {
  StepPace pace({.target_gap = milliseconds(250), .least_speed = 0.85});
  Teach(pace, milliseconds(100), milliseconds(10));
  const uint32_t rows = pace.PromptRows(256);  // 15 would take 250 ms, at 60 % of the speed
  EXPECT_EQ(rows, 56u);
  EXPECT_NEAR(rows / (100.0 + rows * 10) * 10, 0.85, 0.01);
}

TEST(StepPaceTest, AnUnknownMachineBeginsWithASmallChunk) {
  const StepPace pace({});
  EXPECT_EQ(pace.PromptRows(256), 32u);
  EXPECT_EQ(pace.PromptRows(8), 8u);
}

// Sixteen chats that begin together: each step has rows of a prompt, and none shows what streams
// alone would take.
TEST(StepPaceTest, PromptsKeepTheirSpeedBeforeStreamsAloneWereSeen) {
  StepPace pace({.target_gap = milliseconds(250), .least_speed = 0.85});
  pace.Learn({.prompts = 40}, milliseconds(40 * 25));
  for (int i = 0; i < 30; ++i) {
    const uint32_t rows = pace.PromptRows(256);
    EXPECT_GE(rows, 40u);
    EXPECT_LE(rows, 48u);
    pace.Learn({.streams = 4, .prompts = rows}, milliseconds(200 + 25 * rows));
  }
}

TEST(StepPaceTest, FollowsAMachineThatBecomesSlower) {
  StepPace pace({});
  Teach(pace, milliseconds(10), milliseconds(1));
  const uint32_t before = pace.PromptRows(256);
  Teach(pace, milliseconds(20), milliseconds(3));
  EXPECT_LT(pace.PromptRows(256), before / 2);
}

TEST(StepPaceTest, OneDisturbedStepDoesNotStopPrompts) {
  StepPace pace({});
  Teach(pace, milliseconds(10), milliseconds(2));
  pace.Learn({.streams = 4, .prompts = 64}, std::chrono::seconds(1));
  EXPECT_GE(pace.PromptRows(256), 40u);
}

TEST(StepPaceTest, ADraftedRowCostsItsPartOfAStep) {
  StepPace pace({});
  EXPECT_GT(pace.DraftCost(), 0.0);
  for (int i = 0; i < 30; ++i) {
    pace.Learn({.streams = 1}, milliseconds(20));
    pace.Learn({.streams = 1, .drafts = 4}, milliseconds(20) + 4 * microseconds(3000));
  }
  EXPECT_NEAR(pace.DraftCost(), 0.15, 0.001);
}

TEST(StepPaceTest, AStepOccupiesTheSlowestStageForAPartOfItsTime) {
  StepPace pace({});
  EXPECT_FALSE(pace.KnowsVisits());
  EXPECT_EQ(pace.VisitCost(), 1.0);
  pace.Learn({.streams = 1}, milliseconds(20));
  EXPECT_FALSE(pace.KnowsVisits()) << "nobody has said what the stages computed";
  for (int i = 0; i < 30; ++i) {
    pace.Learn({.streams = 1}, milliseconds(20), milliseconds(4));
    pace.Learn({.streams = 1, .drafts = 4}, milliseconds(26), milliseconds(6));
  }
  EXPECT_NEAR(pace.VisitCost(), 0.2, 0.001);
  EXPECT_NEAR(pace.VisitCost(8), 0.4, 0.001);
}

TEST(StepPaceTest, AClockThatStandsStillTeachesNothing) {
  StepPace pace({});
  pace.Learn({.streams = 1}, Time(0));
  pace.Learn({.streams = 1, .prompts = 64}, Time(-5));
  EXPECT_EQ(pace.PromptRows(256), 32u);
}

}  // namespace
}  // namespace exo::engine
