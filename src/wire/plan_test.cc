#include "wire/plan.h"

#include <gtest/gtest.h>

namespace exo::wire {
namespace {

TEST(PlanTextTest, NamesOneLayerAndSeveral) {
  EXPECT_EQ(LayersText(3, 3), "no layers");
  EXPECT_EQ(LayersText(7, 8), "layer 7");
  EXPECT_EQ(LayersText(7, 10), "layers 7-9");
  EXPECT_EQ(RangeText(7, 8), "7");
  EXPECT_EQ(RangeText(0, 4), "0-3");
  Plan plan{.model_name = "tiny", .stages = {{.layer_end = 7}, {.layer_begin = 7, .layer_end = 8}}};
  EXPECT_EQ(DescribeStage(plan, 0), "layers 0-6, embedding and output of tiny");
  EXPECT_EQ(DescribeStage(plan, 1), "layer 7 of tiny");
}

TEST(StreamedLayersTest, AreSpreadEvenlyOverTheStage) {
  StagePlan stage{.layer_begin = 10, .layer_end = 18};
  EXPECT_EQ(StreamedLayers(stage), std::vector<uint32_t>{});
  stage.streamed = 2;
  EXPECT_EQ(StreamedLayers(stage), (std::vector<uint32_t>{13, 17}));
  stage.streamed = 5;
  EXPECT_EQ(StreamedLayers(stage), (std::vector<uint32_t>{11, 13, 14, 16, 17}));
  stage.streamed = 8;
  EXPECT_EQ(StreamedLayers(stage).size(), 8u);
  for (uint32_t layers = 1; layers <= 40; ++layers) {
    for (uint32_t streamed = 0; streamed <= layers; ++streamed)
      EXPECT_EQ(StreamedLayers({.layer_end = layers, .streamed = streamed}).size(), streamed);
  }
}

TEST(StreamedLayersTest, APlanWithMoreThanAStageHasIsInvalidAndOneWithoutKeepsItsId) {
  Plan plan{.stages = {{.layer_end = 7}}, .layers = 7, .context = 64, .kv_pages = 1, .chunk = 8};
  plan.id = ComputePlanId(plan);
  EXPECT_TRUE(Validate(plan));
  for (const uint32_t streamed : {3u, 7u}) {
    plan.stages[0].streamed = streamed;
    EXPECT_FALSE(Validate(plan)) << "the id does not count what is read from disk";
    plan.id = ComputePlanId(plan);
    EXPECT_TRUE(Validate(plan));
  }
  EXPECT_EQ(StreamedLayersOf(plan), 7u);
  plan.stages[0].streamed = 8;
  plan.id = ComputePlanId(plan);
  EXPECT_EQ(Validate(plan).error().message,
            "plan: stage 0 reads 8 layers from disk, of 7 that it has");
}

}  // namespace
}  // namespace exo::wire
