#include "engine/chunk_size.h"

#include <gtest/gtest.h>

namespace exo::engine {
namespace {

// Three stages, of which the last one is the slowest.
std::vector<wire::StageTime> Times(double first, double others) {
  std::vector<wire::StageTime> times(3);
  for (size_t i = 0; i < 3; ++i)
    times[i].microseconds = static_cast<uint64_t>(1e6 * (i == 2 ? first : others));
  return times;
}

TEST(ChunkSizeTest, IsTheLargestUntilSomethingIsKnown) {
  ChunkSize chunk;
  EXPECT_EQ(chunk.RowsFor(2000, 256), 256u);
  chunk.Learn(1, Times(0.01, 0.01));  // a decoded row says nothing of chunks
  EXPECT_EQ(chunk.RowsFor(2000, 256), 256u);
  const std::vector<wire::StageTime> alone(1);
  ChunkSize single;
  single.Learn(256, alone);
  EXPECT_EQ(single.RowsFor(2000, 256), 256u) << "there is nothing to fill";
}

// 256 rows: 8 + 2 steps of 0.26 s, 2.6 s. 64 rows: 32 + 2 of 0.068, 2.31 s. 32: 63 + 2 of
// 0.036, 2.34.
TEST(ChunkSizeTest, IsSmallWhereReadingTheWeightsIsCheap) {
  ChunkSize chunk;
  chunk.Learn(1, Times(0.004, 0.004));
  chunk.Learn(256, Times(0.26, 0.26));
  EXPECT_EQ(chunk.RowsFor(2000, 256), 64u);
  EXPECT_EQ(chunk.RowsFor(100000, 256), 256u) << "filling is a small part of a long prompt";
}

TEST(ChunkSizeTest, IsLargeWhereReadingTheWeightsIsDear) {
  ChunkSize chunk;
  chunk.Learn(1, Times(0.13, 0.13));
  chunk.Learn(256, Times(0.26, 0.26));
  EXPECT_EQ(chunk.RowsFor(2000, 256), 256u);
}

TEST(ChunkSizeTest, GoesBackFromASizeThatDisappoints) {
  ChunkSize chunk;
  chunk.Learn(1, Times(0.004, 0.004));
  chunk.Learn(256, Times(0.26, 0.26));
  ASSERT_EQ(chunk.RowsFor(2000, 256), 64u);
  chunk.Learn(64, Times(0.09, 0.09));  // 34 steps of it are more than 10 of 0.26
  chunk.Learn(128, Times(0.16, 0.16));
  EXPECT_EQ(chunk.RowsFor(2000, 256), 256u);
}

TEST(ChunkSizeTest, ShardsOfAGroupCountAsTheSlowestOfThem) {
  std::vector<wire::StageTime> shards = Times(0.26, 0.26);
  for (wire::StageTime& time : shards) time.layer_end = 8;
  ChunkSize alone;
  alone.Learn(1, Times(0.004, 0.004));
  alone.Learn(256, shards);
  EXPECT_EQ(alone.RowsFor(2000, 256), 256u) << "a group on its own has nothing to fill";
  shards[0].layer_end = 4;
  shards[1].layer_begin = shards[2].layer_begin = 4;
  shards[1].microseconds = 20000;
  const std::vector<wire::StageTime> stages = {shards[0], shards[2]};
  ChunkSize hybrid, pipeline;
  for (ChunkSize* size : {&hybrid, &pipeline}) size->Learn(1, stages);
  hybrid.Learn(256, shards);
  pipeline.Learn(256, stages);
  EXPECT_EQ(hybrid.RowsFor(2000, 256), pipeline.RowsFor(2000, 256));
}

TEST(ChunkSizeTest, OneChunkOfTheWholeCountsForAllStages) {
  ChunkSize chunk;
  chunk.Learn(1, Times(0.004, 0.004));
  chunk.Learn(256, Times(0.26, 0.02));  // the others are done at once
  EXPECT_EQ(chunk.RowsFor(2000, 256), 256u) << "only the slowest stage's time counts";
}

}  // namespace
}  // namespace exo::engine
