#include "engine/moved_pages.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/test_ids.h"

namespace exo::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

PlanId Plan(uint8_t number) {
  PlanId plan;
  plan.bytes[0] = number;
  return plan;
}
LayerPage Page(size_t bytes) {
  return {.positions = 256, .bytes = std::vector<std::byte>(bytes)};
}

class MovedPagesTest : public testing::Test {
 protected:
  MovedPagesTest() { pages_.Limit(1000); }
  void Put(uint8_t plan, uint8_t request, uint32_t layer, size_t bytes) {
    pages_.Put(Plan(plan), {Id(request), 0}, layer, Page(bytes));
  }
  bool Take(uint8_t plan, uint8_t request, uint32_t layer, uint32_t index = 0) {
    return pages_.Take(Plan(plan), {Id(request), index}, layer, std::chrono::steady_clock::now())
        .has_value();
  }
  MovedPages pages_{seconds(30)};
};

TEST_F(MovedPagesTest, ALayerOfAPageIsGivenAwayOnceAndOnlyUnderItsName) {
  Put(1, 1, 3, 100);
  EXPECT_EQ(pages_.bytes(), 100u);
  EXPECT_FALSE(Take(2, 1, 3));
  EXPECT_FALSE(Take(1, 2, 3));
  EXPECT_FALSE(Take(1, 1, 2));
  EXPECT_FALSE(Take(1, 1, 3, 1));
  EXPECT_TRUE(Take(1, 1, 3));
  EXPECT_FALSE(Take(1, 1, 3));
  EXPECT_EQ(pages_.bytes(), 0u);
}

TEST_F(MovedPagesTest, ARequestWithoutRoomIsDroppedWhole) {
  Put(1, 1, 0, 400);
  Put(1, 2, 0, 400);
  Put(1, 2, 1, 400);
  EXPECT_EQ(pages_.bytes(), 400u);
  Put(1, 2, 2, 10);
  EXPECT_FALSE(Take(1, 2, 0) || Take(1, 2, 1) || Take(1, 2, 2)) << "a part is worth nothing";
  EXPECT_TRUE(Take(1, 1, 0));
}

TEST_F(MovedPagesTest, WhatIsOverANewLimitIsDroppedButForLayersThatHaveMemory) {
  for (uint8_t request = 1; request <= 2; ++request) {
    Put(1, request, 0, 100);
    Put(1, request, 1, 100);
  }
  pages_.Limit(200, {.layer_begin = 0, .layer_end = 1, .pages = 2});
  EXPECT_EQ(pages_.bytes(), 400u) << "two pages of layer 0 are not counted";
  pages_.Limit(200, {.layer_begin = 0, .layer_end = 1, .pages = 1});
  EXPECT_EQ(pages_.bytes(), 200u) << "one request is left";
  pages_.Limit(100);
  EXPECT_EQ(pages_.bytes(), 0u);
}

TEST_F(MovedPagesTest, PagesOfAStageThatHasNotEndedAreWaitedFor) {
  pages_.Expect(Plan(1));
  EXPECT_FALSE(Take(1, 1, 0)) << "no longer than is said";
  std::thread stage([&] {
    std::this_thread::sleep_for(milliseconds(20));
    Put(1, 1, 0, 100);
    pages_.Complete(Plan(1), seconds(1));
  });
  const auto limit = std::chrono::steady_clock::now() + seconds(20);
  EXPECT_TRUE(pages_.Take(Plan(1), {Id(1), 0}, 0, limit));
  stage.join();
}

TEST_F(MovedPagesTest, WhatNobodyFetchesExpires) {
  pages_.Expect(Plan(1));
  Put(1, 1, 0, 100);
  pages_.DropExpired(seconds(1000));
  EXPECT_EQ(pages_.bytes(), 100u) << "its stage still runs";
  pages_.Complete(Plan(1), seconds(1000));
  pages_.DropExpired(seconds(1029));
  EXPECT_EQ(pages_.bytes(), 100u);
  pages_.DropExpired(seconds(1030));
  EXPECT_EQ(pages_.bytes(), 0u);
  EXPECT_FALSE(Take(1, 1, 0));
}

}  // namespace
}  // namespace exo::engine
