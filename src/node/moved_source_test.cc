#include "node/moved_source.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

PlanId Plan() {
  PlanId plan;
  plan.bytes[0] = 1;
  return plan;
}
NodeId Device(uint8_t number) {
  NodeId node;
  node.bytes[0] = number;
  return node;
}

class MovedSourceTest : public testing::Test {
 protected:
  MovedSourceTest() { pages_.Limit(1 << 30); }
  void Put(uint32_t layer, size_t bytes, uint32_t positions = 256) {
    const auto value = static_cast<std::byte>(layer);
    pages_.Put(Plan(), {request_, 2}, layer,
               {.positions = positions, .bytes = std::vector<std::byte>(bytes, value)});
  }
  wire::PageReply Ask(std::vector<uint32_t> layers) {
    return PageOf(pages_,
                  {.plan = Plan(), .request = request_, .index = 2, .layers = std::move(layers)});
  }
  const RequestId request_{};
  engine::MovedPages pages_;
};

TEST_F(MovedSourceTest, AMemberGetsTheLayersThatItAsksFor) {
  for (const uint32_t layer : {3, 4, 5}) Put(layer, 10);
  const wire::PageReply reply = Ask({3, 5});
  ASSERT_TRUE(reply.found);
  EXPECT_EQ(reply.layers, 2u);
  EXPECT_EQ(reply.positions, 256u);
  ASSERT_EQ(reply.bytes.size(), 20u);
  EXPECT_EQ(reply.bytes[9], 3);
  EXPECT_EQ(reply.bytes[10], 5);
  EXPECT_FALSE(Ask({3}).found) << "given away";
  EXPECT_TRUE(Ask({4}).found);
  EXPECT_FALSE(Ask({}).found);
}

TEST_F(MovedSourceTest, AReplyIsOfSoManyLayersAsFitIntoAPiece) {
  for (const uint32_t layer : {0, 1, 2}) Put(layer, wire::kMaxPagePiece / 2);
  EXPECT_EQ(Ask({0, 1, 2}).layers, 2u);
  EXPECT_EQ(Ask({2}).layers, 1u);
  Put(3, wire::kMaxPagePiece + 1);
  Put(4, 1);
  EXPECT_EQ(Ask({3, 4}).layers, 1u) << "one at least";
}

TEST_F(MovedSourceTest, WhatIsNotAllThereIsNotFound) {
  Put(0, 10);
  Put(1, 10, 255);
  EXPECT_FALSE(Ask({0, 1}).found) << "of another length";
  Put(2, 10);
  EXPECT_FALSE(Ask({2, 3}).found);
}

TEST_F(MovedSourceTest, AStageTakesItsOwnLayersAndMissesThoseOfADeviceThatIsAway) {
  const std::unique_ptr<net::Identity> identity = *net::Identity::Create();
  const auto load = MakeMovedSource(
      *identity, pages_,
      {.former = {Plan(), {{Device(1), 0, 2}, {Device(2), 2, 4}}}, .self = Device(1)});
  Put(0, 10);
  Put(1, 10);
  const std::vector<uint32_t> own = {0, 1}, both = {1, 2}, unknown = {7};
  const auto pages = load({request_, 2}, own);
  ASSERT_TRUE(pages) << pages.error().message;
  ASSERT_EQ(pages->size(), 2u);
  EXPECT_EQ((*pages)[1].bytes[0], std::byte{1});
  Put(1, 10);
  EXPECT_EQ(load({request_, 2}, both).error().code, ErrorCode::kDisconnected);
  EXPECT_EQ(load({request_, 2}, own).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(load({request_, 2}, unknown).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace exo::node
