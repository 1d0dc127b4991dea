#include "backend/kv_pages.h"

#include <gtest/gtest.h>

#include <cstring>

namespace exo::backend {
namespace {

constexpr KvLayout kSmall = {
    .type = kernels::KvType::kF32, .head_dim = 16, .layers = 2, .heads = 2};

// A byte in the tile of a position, in the values of layer 1, head 1.
std::byte& At(const KvPages& pages, size_t position) {
  const kernels::KvHead head = pages.Head(1, 1);
  return head.pages[position / 256][head.v + position % 256 / 16 * kSmall.tile_bytes()];
}

TEST(KvPagesTest, GrowsAndShrinksByPages) {
  KvPages pages(kSmall);
  EXPECT_EQ(pages.pages(), 0u);
  ASSERT_TRUE(pages.Reserve(0, 1));
  EXPECT_EQ(pages.pages(), 1u);
  std::byte* first = pages.Head(0, 0).pages[0];
  ASSERT_TRUE(pages.Reserve(1, 513));
  EXPECT_EQ(pages.pages(), 3u);
  EXPECT_EQ(pages.Head(0, 0).pages[0], first) << "what is there stays where it is";
  pages.Truncate(512);
  EXPECT_EQ(pages.pages(), 2u);
  pages.Truncate(0);
  EXPECT_EQ(pages.pages(), 0u);
}

TEST(KvPagesTest, PartsOfAPageDoNotOverlapAndFillIt) {
  KvPages pages(kSmall);
  ASSERT_TRUE(pages.Reserve(0, 256));
  size_t next = 0;
  for (size_t layer = 0; layer < 2; ++layer) {
    for (size_t head = 0; head < 2; ++head) {
      const kernels::KvHead at = pages.Head(layer, head);
      EXPECT_EQ(at.k, next);
      EXPECT_EQ(at.v, next + kSmall.part_bytes());
      next += 2 * kSmall.part_bytes();
    }
  }
  EXPECT_EQ(next, kSmall.page_bytes());
}

TEST(KvPagesTest, WhoWritesToASharedPageGetsACopy) {
  KvPages origin(kSmall);
  ASSERT_TRUE(origin.Reserve(0, 300));
  At(origin, 0) = std::byte{1};
  At(origin, 260) = std::byte{2};
  KvPages fork = origin.Share(270);
  EXPECT_EQ(&At(fork, 0), &At(origin, 0));
  EXPECT_EQ(&At(fork, 260), &At(origin, 260));
  ASSERT_TRUE(fork.Reserve(270, 280));
  EXPECT_EQ(&At(fork, 0), &At(origin, 0)) << "nobody wrote to the first page";
  EXPECT_NE(&At(fork, 260), &At(origin, 260));
  EXPECT_EQ(At(fork, 260), std::byte{2});
  std::byte* own = &At(origin, 260);
  ASSERT_TRUE(origin.Reserve(300, 301));
  EXPECT_EQ(&At(origin, 260), own) << "nobody else has it any more";
}

TEST(KvPagesTest, PositionsThatAreWrittenAgainAreNotThoseOfTheFork) {
  KvPages origin(kSmall);
  ASSERT_TRUE(origin.Reserve(0, 600));
  At(origin, 500) = std::byte{7};
  const KvPages fork = origin.Share(600);
  ASSERT_TRUE(origin.Reserve(100, 600));
  At(origin, 500) = std::byte{8};
  EXPECT_EQ(At(fork, 500), std::byte{7});
}

TEST(KvPagesTest, AWindowLetsGoOfWhatNobodyAttendsToAnyMore) {
  KvLayout layout = kSmall;
  layout.window = 100;
  KvPages pages(layout);
  ASSERT_TRUE(pages.Reserve(0, 600));
  EXPECT_EQ(pages.pages(), 3u);
  const KvPages early = pages.Share(300);
  ASSERT_TRUE(pages.Reserve(354, 601));  // attends from 255 on
  EXPECT_EQ(pages.pages(), 3u);
  ASSERT_TRUE(pages.Reserve(600, 700));  // attends from 501 on
  EXPECT_EQ(pages.pages(), 2u);
  EXPECT_EQ(pages.Head(0, 0).pages[0], nullptr);
  EXPECT_NE(pages.Head(0, 0).pages[1], nullptr);
  EXPECT_TRUE(pages.Reaches(355));
  EXPECT_FALSE(pages.Reaches(354));
  EXPECT_TRUE(early.Reaches(200)) << "a fork keeps its own";
  EXPECT_NE(early.Head(0, 0).pages[0], nullptr);
  ASSERT_TRUE(pages.Reserve(0, 20)) << "begins anew";
  EXPECT_EQ(pages.pages(), 1u);
  EXPECT_TRUE(pages.Reaches(10));
}

TEST(KvPagesTest, ALayerOfAPageIsCopiedOutAndIn) {
  KvPages pages(kSmall);
  ASSERT_TRUE(pages.Reserve(0, 300));
  for (size_t i = 0; i < kSmall.page_bytes(); ++i)
    pages.Head(0, 0).pages[1][i] = static_cast<std::byte>(i % 251);
  std::vector<std::byte> first(kSmall.saved_bytes(44)), second(first.size());
  pages.Save(1, 0, 44, first);
  pages.Save(1, 1, 44, second);
  KvPages other(kSmall);
  ASSERT_TRUE(other.Reserve(0, 20));
  std::memset(other.Head(0, 0).pages[0], 255, kSmall.page_bytes());
  other.Load(0, 0, 20, 44, first);
  other.Load(0, 1, 20, 44, second);
  const auto* from = pages.Head(0, 0).pages[1];
  const auto* to = other.Head(0, 0).pages[0];
  for (size_t i = 0; i < kSmall.page_bytes(); ++i) {
    const bool copied = i % kSmall.part_bytes() < 2 * kSmall.tile_bytes();  // 32 positions
    ASSERT_EQ(to[i], copied ? from[i] : std::byte{255}) << i;
  }
}

// What was restored without windows: pages behind it can be loaded, and computed on where the
// window is back.
TEST(KvPagesTest, PagesWithoutWindowsAreSkipped) {
  KvLayout layout = kSmall;
  layout.window = 100;
  KvPages pages(layout);
  pages.Skip(256);
  pages.Skip(512);
  EXPECT_EQ(pages.pages(), 0u);
  EXPECT_FALSE(pages.Reaches(512));
  EXPECT_FALSE(pages.Has(1));
  ASSERT_TRUE(pages.Reserve(512, 700));
  EXPECT_EQ(pages.pages(), 1u);
  EXPECT_TRUE(pages.Has(2));
  EXPECT_EQ(pages.Head(0, 0).pages[1], nullptr);
  EXPECT_FALSE(pages.Reaches(610));
  EXPECT_TRUE(pages.Reaches(611));
  pages.Skip(768);
  EXPECT_FALSE(pages.Has(2));
  ASSERT_TRUE(pages.Reserve(0, 20)) << "begins anew";
  EXPECT_TRUE(pages.Has(0));
}

TEST(KvPagesTest, MemoryThatTheSystemLacksIsRefused) {
  KvPages pages({.head_dim = 128, .layers = size_t{1} << 30, .heads = 8});
  const auto reserved = pages.Reserve(0, 1);
  ASSERT_FALSE(reserved);
  EXPECT_EQ(reserved.error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(pages.pages(), 0u);
}

}  // namespace
}  // namespace exo::backend
