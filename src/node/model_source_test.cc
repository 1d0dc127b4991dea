// Hashes of blocks, as members send them.
#include "node/model_source.h"

#include <gtest/gtest.h>

#include "node/bulk_server.h"

namespace exo::node {
namespace {

TEST(TakeHashesTest, EachReplyHasAsManyAsFitOrAreLeft) {
  const uint64_t bytes = (kMostHashes + 1) * store::kHashBlock + 1;  // two for a second reply
  std::vector<uint8_t> first(kMostHashes * Hash256::kSize);
  first[Hash256::kSize] = 7;
  std::vector<Hash256> blocks;
  const auto take = [&](const std::vector<uint8_t>& reply) {
    return TakeHashes(reply, bytes, blocks);
  };
  for (const size_t size : {size_t{0}, size_t{1}, Hash256::kSize, first.size() - Hash256::kSize,
                            first.size() + Hash256::kSize}) {
    const auto taken = take(std::vector<uint8_t>(size));
    ASSERT_FALSE(taken) << size;
    EXPECT_EQ(taken.error().code, ErrorCode::kCorrupt);
    EXPECT_TRUE(blocks.empty());
  }
  ASSERT_TRUE(take(first));
  ASSERT_EQ(blocks.size(), kMostHashes);
  EXPECT_EQ(blocks[1].bytes[0], 7);
  EXPECT_FALSE(take(std::vector<uint8_t>(Hash256::kSize))) << "there are two";
  EXPECT_FALSE(take(first));
  ASSERT_TRUE(take(std::vector<uint8_t>(2 * Hash256::kSize)));
  EXPECT_EQ(blocks.size(), store::BlocksOf(bytes));
}

}  // namespace
}  // namespace exo::node
