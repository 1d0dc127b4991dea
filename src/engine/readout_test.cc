#include "engine/readout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace exo::engine {
namespace {

using testing::ElementsAre;

TEST(ReadoutTest, AMeanIsRoundedOnce) {
  std::vector<double> sum;
  // In binary32 the small ones would be lost beside the large one.
  AddState(sum, std::vector<float>{16777216.0f, -3.0f});
  AddState(sum, std::vector<float>{1.0f, 1.0f});
  AddState(sum, std::vector<float>{1.0f, 5.0f});
  AddState(sum, std::vector<float>{-16777216.0f, 1.0f});
  EXPECT_THAT(MeanState(sum, 4), ElementsAre(0.5f, 1.0f));
}

TEST(ReadoutTest, UnitVectorsAreCutFirst) {
  std::vector<float> whole = {3, 0, 4};
  MakeUnit(whole, 0);
  EXPECT_THAT(whole, ElementsAre(0.6f, 0, 0.8f));
  std::vector<float> cut = {3, 0, 4};
  MakeUnit(cut, 2);
  EXPECT_THAT(cut, ElementsAre(1, 0));
  std::vector<float> short_one = {-2};
  MakeUnit(short_one, 7);
  EXPECT_THAT(short_one, ElementsAre(-1));
}

TEST(ReadoutTest, NeitherZerosNorHugeOnesBreakIt) {
  std::vector<float> zeros = {0, -0.0f};
  MakeUnit(zeros, 0);
  EXPECT_THAT(zeros, ElementsAre(0, 0));
  std::vector<float> huge = {3e38f, 0, 3e38f};  // squares beyond binary32
  MakeUnit(huge, 0);
  EXPECT_THAT(huge, ElementsAre(0.70710678f, 0, 0.70710678f));
}

}  // namespace
}  // namespace exo::engine
