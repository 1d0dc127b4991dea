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

}  // namespace
}  // namespace exo::engine
