#include "engine/page_ledger.h"

#include <gtest/gtest.h>

#include "engine/test_ids.h"

namespace exo::engine {
namespace {

TEST(PageLedgerTest, ASequenceTakesPagesAsItGrows) {
  PageLedger ledger(8);
  EXPECT_EQ(ledger.Needs(Id(1), 0, 9), 2u);
  ledger.Write(Id(1), 0, 9);
  EXPECT_EQ(ledger.used(), 2u);
  EXPECT_EQ(ledger.Needs(Id(1), 9, 16), 0u);
  EXPECT_EQ(ledger.Needs(Id(1), 9, 17), 1u);
  ledger.Truncate(Id(1), 8);
  EXPECT_EQ(ledger.used(), 1u);
  ledger.Close(Id(1));
  EXPECT_EQ(ledger.used(), 0u);
  ledger.Close(Id(1));  // nothing there
}

TEST(PageLedgerTest, AForkTakesAPageWhenItWritesToASharedOne) {
  PageLedger ledger(8);
  ledger.Write(Id(1), 0, 12);
  ledger.Share(Id(1), 10, Id(2));
  EXPECT_EQ(ledger.used(), 2u);
  EXPECT_EQ(ledger.Needs(Id(2), 10, 11), 1u) << "a copy of the second page";
  EXPECT_EQ(ledger.Needs(Id(1), 12, 13), 1u) << "the origin would copy it too";
  ledger.Write(Id(2), 10, 17);
  EXPECT_EQ(ledger.used(), 4u);
  EXPECT_EQ(ledger.Needs(Id(1), 12, 13), 0u) << "nobody else has it now";
  ledger.Close(Id(1));
  EXPECT_EQ(ledger.used(), 3u);
}

TEST(PageLedgerTest, AForkAtTheEndOfAPageCopiesNothing) {
  PageLedger ledger(8);
  ledger.Write(Id(1), 0, 20);
  ledger.Share(Id(1), 16, Id(2));
  EXPECT_EQ(ledger.Needs(Id(2), 16, 17), 1u);
  ledger.Write(Id(2), 16, 17);
  EXPECT_EQ(ledger.used(), 4u);
}

// Positions that are written anew replace shared pages altogether.
TEST(PageLedgerTest, WritingFromFurtherBackTakesEveryPageBehind) {
  PageLedger ledger(8);
  ledger.Write(Id(1), 0, 24);
  ledger.Share(Id(1), 24, Id(2));
  EXPECT_EQ(ledger.Needs(Id(1), 3, 24), 3u);
  ledger.Write(Id(1), 3, 24);
  EXPECT_EQ(ledger.used(), 6u);
}

// 8 positions a page, a window of 10: rows at 40 attend from 31 on, and the page of 31 begins
// at 24.
LedgerWindow Window(uint64_t pages) {
  return {.positions = 10, .most = 4, .pages = pages, .stages = {{.all = 1, .windowed = 5}}};
}

TEST(PageLedgerTest, WindowsThatHaveMovedOnCannotBeReached) {
  PageLedger ledger(8, Window(100));
  ledger.Write(Id(1), 0, 40);
  EXPECT_TRUE(ledger.Reaches(Id(1), 1));
  ledger.Slide(Id(1), 40);
  EXPECT_TRUE(ledger.Reaches(Id(1), 40));
  EXPECT_TRUE(ledger.Reaches(Id(1), 33)) << "attends from 24 on";
  EXPECT_FALSE(ledger.Reaches(Id(1), 32));
  EXPECT_TRUE(ledger.Reaches(Id(1), 0)) << "anew";
  ledger.Share(Id(1), 36, Id(2));
  EXPECT_FALSE(ledger.Reaches(Id(2), 32)) << "a fork has what its origin has";
  ledger.Truncate(Id(1), 0);
  ledger.Write(Id(1), 0, 8);
  EXPECT_TRUE(ledger.Reaches(Id(1), 3));
  EXPECT_TRUE(PageLedger(8).Reaches(Id(1), 3)) << "without windows";
}

TEST(PageLedgerTest, KnowsBeforehandWhatRowsLeaveToBeCutTo) {
  for (uint32_t first = 1; first < 60; ++first) {
    PageLedger ledger(8, Window(100));
    ledger.Write(Id(1), 0, 60);
    ledger.Slide(Id(1), first);
    for (uint32_t length = 1; length <= first; ++length)
      EXPECT_EQ(ledger.Keeps(length, first), ledger.Reaches(Id(1), length))
          << length << ' ' << first;
  }
  EXPECT_TRUE(PageLedger(8).Keeps(1, 1000)) << "without windows everything is there";
}

TEST(PageLedgerTest, BehindPagesWithoutWindowsWindowsComeBack) {
  PageLedger ledger(8, Window(100));
  ledger.Write(Id(1), 0, 16);
  ledger.Skip(Id(1), 16);
  EXPECT_FALSE(ledger.HasWindows(Id(1), 8));
  EXPECT_TRUE(ledger.HasWindows(Id(1), 16));
  EXPECT_FALSE(ledger.Reaches(Id(1), 16));
  ledger.Write(Id(1), 16, 30);
  EXPECT_FALSE(ledger.Reaches(Id(1), 24)) << "attends from 15 on";
  EXPECT_TRUE(ledger.Reaches(Id(1), 25));
  ledger.Write(Id(1), 0, 8);
  EXPECT_TRUE(ledger.HasWindows(Id(1), 0)) << "anew";
  PageLedger without(8);
  without.Write(Id(1), 0, 16);
  without.Skip(Id(1), 16);
  EXPECT_TRUE(without.HasWindows(Id(1), 0));
}

TEST(PageLedgerTest, ALongSequenceTakesFewPagesOfLayersWithAWindow) {
  PageLedger ledger(8, Window(8));
  // 20 pages of one layer and 8 of five: 60 units. A sequence of 20 pages takes 20 + 5 * 4.
  ledger.Write(Id(1), 0, 160);
  EXPECT_EQ(ledger.used(), 20u);
  EXPECT_EQ(ledger.windowed(), 4u);
  EXPECT_TRUE(ledger.Within(20));
  EXPECT_TRUE(ledger.Fits(20, Id(2), 0, 24)) << "3 + 5 * 3 more";
  EXPECT_FALSE(ledger.Fits(20, Id(2), 0, 32)) << "4 + 5 * 4 more";
  EXPECT_TRUE(ledger.Fits(20, Id(1), 160, 161)) << "a page of one layer";
}

}  // namespace
}  // namespace exo::engine
