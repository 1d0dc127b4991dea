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

}  // namespace
}  // namespace exo::wire
