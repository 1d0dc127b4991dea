// Many seeds of the simulated cluster. EXO_SIM_SEEDS sets how many, EXO_SIM_FIRST the first one: a
// failing run prints its seed, and EXO_SIM_FIRST=<seed> EXO_SIM_SEEDS=1 repeats it exactly.
#include "sim/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace exo::sim {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, InvariantsHoldUnderFaults) {
  const uint64_t first = FromEnvironment("EXO_SIM_FIRST", 1);
  const uint64_t seeds = FromEnvironment("EXO_SIM_SEEDS", 3000);
  SimResult total;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const SimResult result = Simulate({.seed = seed});
    ASSERT_EQ(result.failure, "") << "repeat with EXO_SIM_FIRST=" << seed << " EXO_SIM_SEEDS=1";
    total.steps += result.steps;
    total.requests += result.requests;
    total.completed += result.completed;
    total.failed += result.failed;
    total.cancelled += result.cancelled;
    total.tokens += result.tokens;
    total.placed += result.placed;
    total.moved += result.moved;
    total.replicas += result.replicas;
    total.adopted += result.adopted;
    total.restored += result.restored;
    total.lost_pages += result.lost_pages;
    total.refuted += result.refuted;
    total.crashes += result.crashes;
    total.pauses += result.pauses;
    total.partitions += result.partitions;
    total.resets += result.resets;
  }
  printf(
      "%lu seeds: %lu steps, %lu requests (%lu completed, %lu failed, %lu cancelled), %lu tokens, "
      "%lu instances (%lu replicas, %lu adopted), %lu stages moved, %lu rows restored, %lu pages "
      "lost, %lu crashes, %lu pauses, %lu cuts, %lu resets\n",
      seeds, total.steps, total.requests, total.completed, total.failed, total.cancelled,
      total.tokens, total.placed, total.replicas, total.adopted, total.moved, total.restored,
      total.lost_pages, total.crashes, total.pauses, total.partitions, total.resets);
  // The simulation is worth something only when work gets done in spite of the faults.
  EXPECT_GT(total.completed * 5, total.requests);
  if (seeds >= 1000) EXPECT_GT(total.adopted, 0u);
  if (seeds >= 100) {
    EXPECT_GT(total.restored, 0u);
    EXPECT_GT(total.moved, 0u);
    EXPECT_GT(total.lost_pages, 0u);
    EXPECT_GT(total.refuted, 0u);
    EXPECT_GT(total.replicas, 0u);
  }
}

TEST(SimulationTest, SameSeedGivesTheSameTrace) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const SimResult a = Simulate({.seed = seed});
    const SimResult b = Simulate({.seed = seed});
    EXPECT_EQ(a.trace, b.trace) << seed;
    EXPECT_EQ(a.steps, b.steps) << seed;
  }
  EXPECT_NE(Simulate({.seed = 1}).trace, Simulate({.seed = 2}).trace);
}

// Seeds whose cluster has three nodes and whose model is spread over several of them.
template <class Check>
void ForSlowStages(const SlowStage& slow, Check check) {
  int checked = 0;
  for (uint64_t seed = 1; seed <= 60 && checked < 10; ++seed) {
    const SlowResult result = SimulateSlowStage(seed, slow);
    ASSERT_EQ(result.failure, "") << seed;
    if (result.stages < 2) continue;
    ++checked;
    check(result, seed);
  }
  EXPECT_GT(checked, 3);
}

TEST(SlowStageTest, ASlowStageThatComputesLosesNoRequest) {
  ForSlowStages({.kind = SlowStage::kSlow, .step = std::chrono::seconds(90)},
                [](const SlowResult& result, uint64_t seed) {
                  EXPECT_TRUE(result.completed) << seed << ": " << result.error;
                });
}

TEST(SlowStageTest, AHungStageIsNoticedThoughItsHeartbeatsFlow) {
  ForSlowStages({.kind = SlowStage::kHung}, [](const SlowResult& result, uint64_t seed) {
    EXPECT_TRUE(result.failed) << seed;
    EXPECT_LT(result.took, std::chrono::seconds(45)) << seed;
  });
}

TEST(SlowStageTest, AFrozenStageIsNoticedByItsSilence) {
  ForSlowStages({.kind = SlowStage::kFrozen, .step = std::chrono::seconds(90)},
                [](const SlowResult& result, uint64_t seed) {
                  // It begins again on the others, or says who was lost where it had been in
                  // flight for long.
                  EXPECT_TRUE(result.completed || result.error.find("lost") != std::string::npos)
                      << seed << ": " << result.error;
                  EXPECT_LT(result.took, std::chrono::seconds(15)) << seed;
                });
}

TEST(MovesTest, NoAnswerIsLostToAMove) {
  SimResult total;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const SimResult result = SimulateMoves(seed);
    ASSERT_EQ(result.failure, "") << seed;
    ASSERT_EQ(result.failed, 0u) << seed << ": " << result.last_error;
    total.completed += result.completed;
    total.moved += result.moved;
    total.moved_rows += result.moved_rows;
  }
  printf("%lu answers, %lu stages moved, KV of %lu rows came along\n", total.completed, total.moved,
         total.moved_rows);
  EXPECT_GT(total.moved, 40u);
  EXPECT_GT(total.moved_rows, 100u);
  EXPECT_GT(total.completed, 400u);
}

TEST(ReplicasTest, NoAnswerIsLostWithAReplica) {
  SimResult total;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const SimResult result = SimulateReplicas(seed);
    ASSERT_EQ(result.failure, "") << seed;
    ASSERT_EQ(result.failed, 0u) << seed << ": " << result.last_error;
    total.completed += result.completed;
    total.crashes += result.crashes;
    total.replicas += result.replicas;
  }
  printf("%lu answers, %lu devices lost, %lu replicas\n", total.completed, total.crashes,
         total.replicas);
  EXPECT_GT(total.completed, 1000u);
  EXPECT_GT(total.crashes, 40u);
  EXPECT_GT(total.replicas, 12u);
}

TEST(HybridsTest, NoAnswerIsLostWithAMemberOfAGroup) {
  SimResult total;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const SimResult result = SimulateHybrids(seed);
    ASSERT_EQ(result.failure, "") << seed;
    ASSERT_EQ(result.failed, 0u) << seed << ": " << result.last_error;
    total.completed += result.completed;
    total.crashes += result.crashes;
    total.hybrids += result.hybrids;
  }
  printf("%lu answers, %lu devices lost, %lu plans over groups\n", total.completed, total.crashes,
         total.hybrids);
  EXPECT_GT(total.completed, 500u);
  EXPECT_GT(total.crashes, 40u);
  EXPECT_GT(total.hybrids, 12u);
}

// How many seeds until a planted bug is found; 0: not within `most`.
uint64_t SeedsToFind(SimOptions options, uint64_t most = 1000) {
  for (uint64_t seed = 1; seed <= most; ++seed) {
    options.seed = seed;
    const SimResult result = Simulate(options);
    if (result.failure.empty()) continue;
    printf("found: %s\n", result.failure.c_str());
    return seed;
  }
  return 0;
}

TEST(PlantedBugTest, MissingPlanFenceIsFound) {
  EXPECT_NE(SeedsToFind({.stage_bugs = {.no_fence = true}}), 0u);
}
TEST(PlantedBugTest, StaleKvIsFound) {
  EXPECT_NE(SeedsToFind({.stage_bugs = {.no_gap_check = true}}), 0u);
}
TEST(PlantedBugTest, ACancelledStepThatIsCommittedIsFound) {
  EXPECT_NE(SeedsToFind({.stage_bugs = {.commit_cancelled = true}}), 0u);
}
TEST(PlantedBugTest, APageThatIsNotThereAndCountsAsRestoredIsFound) {
  EXPECT_NE(SeedsToFind({.stage_bugs = {.keep_lost = true}}), 0u);
}
TEST(PlantedBugTest, MissingLeaseExpiryIsFound) {
  EXPECT_NE(SeedsToFind({.bugs = {.no_lease_expiry = true}}), 0u);
}
TEST(PlantedBugTest, UncheckedGrantIsFound) {
  EXPECT_NE(SeedsToFind({.bugs = {.no_grant_check = true}}), 0u);
}
TEST(PlantedBugTest, OlderRecordOfADesiredModelTakenForNewerIsFound) {
  EXPECT_NE(SeedsToFind({.bugs = {.no_version_check = true}}), 0u);
}
TEST(PlantedBugTest, RepeatedTokensTakenTwiceAreFound) {
  EXPECT_NE(SeedsToFind({.bugs = {.no_token_index = true}}), 0u);
}

}  // namespace
}  // namespace exo::sim
