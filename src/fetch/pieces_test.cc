#include "fetch/pieces.h"

#include <gtest/gtest.h>

namespace exo::fetch {
namespace {

constexpr uint64_t kBytes = 2 * kPieceBytes + 100;

TEST(PiecesTest, AreClaimedOnceAndGoOnWhereTheyBrokeOff) {
  Pieces pieces(kBytes, "mark");
  const auto first = pieces.Claim(1), second = pieces.Claim(1), third = pieces.Claim(1);
  ASSERT_TRUE(first && second && third);
  EXPECT_EQ(third->begin, 2 * kPieceBytes);
  EXPECT_EQ(third->end, kBytes);
  EXPECT_FALSE(pieces.Claim(1));
  pieces.Add(second->begin, 1000);
  pieces.Release(*second);
  const auto again = pieces.Claim(9);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->begin, kPieceBytes + 1000);
  EXPECT_EQ(again->end, 2 * kPieceBytes);
  EXPECT_EQ(pieces.completed(), 1000u);
}

// A request to a hub each is too much for large files.
TEST(PiecesTest, SeveralInARowAreOneGap) {
  Pieces pieces(kBytes, "mark");
  const auto two = pieces.Claim(2), last = pieces.Claim(2);
  ASSERT_TRUE(two && last);
  EXPECT_EQ(two->begin, 0u);
  EXPECT_EQ(two->end, 2 * kPieceBytes);
  EXPECT_EQ(last->begin, 2 * kPieceBytes);
  EXPECT_EQ(last->end, kBytes);
  pieces.Add(0, kPieceBytes + 10);
  pieces.Release(*two);
  const auto again = pieces.Claim(5);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->begin, kPieceBytes + 10);
  EXPECT_EQ(again->end, 2 * kPieceBytes) << "the one behind it is somebody else's";
}

TEST(PiecesTest, OneStreamFillsThemAll) {
  Pieces pieces(kBytes, "mark");
  pieces.Add(0, kPieceBytes - 1);
  pieces.Add(kPieceBytes - 1, kBytes - kPieceBytes + 1);
  EXPECT_TRUE(pieces.complete());
  EXPECT_FALSE(pieces.Claim(1));
}

TEST(PiecesTest, TheirNoteIsReadAgainForTheSameFileOnly) {
  Pieces pieces(kBytes, "mark");
  (void)pieces.Claim(1);
  pieces.Add(0, 77);
  const auto read = Pieces::Parse(pieces.Text(), kBytes, "mark");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->completed(), 77u);
  EXPECT_FALSE(Pieces::Parse(pieces.Text(), kBytes, "other"));
  EXPECT_FALSE(Pieces::Parse(pieces.Text(), kBytes + 1, "mark"));
  for (const char* text : {"", "{}", "[]", R"({"bytes":33554532,"mark":"mark","filled":[1,2]})",
                           R"({"bytes":33554532,"mark":"mark","filled":[1,2,101]})",
                           R"({"bytes":33554532,"mark":"mark","filled":[1,-2,3]})",
                           R"({"bytes":33554532,"mark":"mark","filled":"x"})"})
    EXPECT_FALSE(Pieces::Parse(text, kBytes, "mark")) << text;
}

TEST(PiecesTest, AnEmptyFileIsComplete) {
  EXPECT_TRUE(Pieces(0, "").complete());
}

}  // namespace
}  // namespace exo::fetch
