// A tensor split in one process: shards on threads, each with its part of every layer, give the
// bits of the stage that computes alone.
#include "backend/cpu/shard.h"

#include <gtest/gtest.h>

#include <barrier>
#include <cstring>
#include <numeric>
#include <thread>

#include "backend/cpu/cpu.h"
#include "backend/test_model.h"

namespace exo::backend {
namespace {

using tensor::DType;

// Shards of one process: what a network of devices does with messages.
class Group {
 public:
  explicit Group(size_t shards) : given_(shards), arrived_(static_cast<ptrdiff_t>(shards)) {
    for (size_t i = 0; i < shards; ++i) members_.push_back({this, i});
  }
  Collective& member(size_t shard) { return members_[shard]; }

 private:
  class Member final : public Collective {
   public:
    Member(Group* group, size_t shard) : group_(group), shard_(shard) {}
    Result<void> Sum(SplitProduct, uint32_t leaves, std::span<const Partial> own,
                     std::span<float> sum) override {
      group_->given_[shard_] = own;
      group_->arrived_.arrive_and_wait();
      std::vector<Partial> all;
      for (const auto& given : group_->given_) all.insert(all.end(), given.begin(), given.end());
      CombinePartials(leaves, all, sum);
      group_->arrived_.arrive_and_wait();  // everybody has read
      return {};
    }

   private:
    Group* group_;
    size_t shard_;
  };

  std::vector<std::span<const Partial>> given_;
  std::barrier<> arrived_;
  std::vector<Member> members_;
};

StageSpec Whole(const TestModel& model) {
  return {.config = model.config,
          .tensors = model.tensors,
          .layer_begin = 0,
          .layer_end = model.config->layers,
          .lead = true,
          .chunk = 32};
}

// Logits of all positions of a prompt of 29 tokens, in two batches.
Result<std::vector<float>> Logits(StageCompute& stage, Collective* collective) {
  TRY(stage.Open(1, 29));
  std::vector<float> logits;
  for (const uint32_t first : {0u, 13u}) {
    std::vector<TokenId> tokens;
    std::vector<uint32_t> rows;
    for (uint32_t i = first; i < (first == 0 ? 13 : 29); ++i) {
      rows.push_back(i - first);
      tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
    }
    const Segment segment = {
        .sequence = 1, .first = first, .count = static_cast<uint32_t>(tokens.size())};
    const auto running = TRY(stage.Run({.segments = {&segment, 1},
                                        .tokens = tokens,
                                        .output_rows = rows,
                                        .wanted = Wanted::kLogits,
                                        .collective = collective}));
    TRY(running->Wait());
    const auto own = TRY(running->Logits(0, rows.size()));
    logits.insert(logits.end(), own.begin(), own.end());
  }
  return logits;
}

std::vector<float> AllAtOnce(TestModel& model, const std::vector<Shard>& shards) {
  Group group(shards.size());
  std::vector<std::vector<float>> logits(shards.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shards.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto pool = MakeComputePool(1 + i % 2);
      const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
      StageSpec spec = Whole(model);
      spec.shard = shards[i];
      const auto stage = backend->Load(spec, model.source, {}, nullptr);
      ASSERT_TRUE(stage.has_value()) << stage.error().message;
      const StageBytes bytes = backend->Estimate(spec);
      EXPECT_GT(bytes.weights, 0u);
      EXPECT_EQ((*stage)->weights_bytes(), bytes.weights);
      auto own = Logits(**stage, &group.member(i));
      ASSERT_TRUE(own.has_value()) << own.error().message;
      logits[i] = std::move(*own);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& own : logits) EXPECT_EQ(own, logits[0]);  // every shard has the sum
  return logits[0];
}

class ShardTest : public testing::TestWithParam<std::tuple<DType, DType, Kind>> {};

TEST_P(ShardTest, TwoShardsGiveTheBitsOfOneStage) {
  const auto [matrices, output, kind] = GetParam();
  TestModel model(matrices, output, kind);
  const auto pool = MakeComputePool(2);
  const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
  const auto alone = backend->Load(Whole(model), model.source, {}, nullptr);
  ASSERT_TRUE(alone.has_value());
  const auto expected = Logits(**alone, nullptr);
  ASSERT_TRUE(expected.has_value());
  const bool super_blocks = tensor::Info(matrices).block_values == 256;
  if (super_blocks) {
    // Heads cannot be cut: 256 columns of attention output are one block.
    StageSpec spec = Whole(model);
    spec.shard = Shard{0, 1, 0, 256};
    EXPECT_EQ(backend->Load(spec, model.source, {}, nullptr).error().code, ErrorCode::kInvalid);
    return;
  }
  // The feed-forward block in halves, and unevenly: 1 | 3 leaves of 4, which is 1 | 1 + 2.
  for (const uint32_t cut : {256u, 128u, 384u}) {
    const auto sum = AllAtOnce(model, {{0, 1, 0, cut}, {1, 2, cut, 512}});
    ASSERT_EQ(sum.size(), expected->size());
    EXPECT_EQ(std::memcmp(sum.data(), expected->data(), sum.size() * sizeof(float)), 0) << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ShardTest,
                         testing::Values(std::tuple{DType::kQ4_0, DType::kQ6_K, Kind::kLlama},
                                         std::tuple{DType::kQ8_0, DType::kQ8_0, Kind::kQwen},
                                         std::tuple{DType::kBF16, DType::kF16, Kind::kGemma},
                                         std::tuple{DType::kQ4_K, DType::kQ8_0, Kind::kLlama}));

TEST(ShardPlanTest, PartsAreTheSubtreesOfTheShardsLeaves) {
  TestModel model(DType::kQ8_0, DType::kQ8_0, Kind::kLlama);
  StageSpec spec = Whole(model);
  spec.shard = Shard{1, 2, 128, 512};
  const auto plan = PlanShard(spec);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->spec.config->heads, 2u);
  EXPECT_EQ(plan->spec.config->ffn_width, 384u);
  EXPECT_EQ(plan->attention_leaves, 2u);
  EXPECT_EQ(plan->ffn_leaves, 4u);
  ASSERT_EQ(plan->layers.size(), 5u);
  ASSERT_EQ(plan->layers[0].down.size(), 2u);
  EXPECT_EQ(plan->layers[0].down[0].leaves, (LeafRange{1, 2}));
  EXPECT_EQ(plan->layers[0].down[1].leaves, (LeafRange{2, 4}));
  EXPECT_EQ(plan->layers[0].down[1].tensor.cols, 256u);
}

TEST(ShardPlanTest, WhatCannotBeCutIsRefused) {
  TestModel model(DType::kQ8_0, DType::kQ8_0, Kind::kLlama);
  TestModel mixture(DType::kQ8_0, DType::kQ8_0, Kind::kExperts);
  const auto code = [](const TestModel& of, const Shard& shard) {
    StageSpec spec = Whole(of);
    spec.shard = shard;
    const auto plan = PlanShard(spec);
    return plan ? std::optional<ErrorCode>() : plan.error().code;
  };
  EXPECT_EQ(code(model, {0, 1, 0, 256}), std::nullopt);
  EXPECT_EQ(code(model, {0, 0, 0, 256}), ErrorCode::kInvalid);  // no heads
  EXPECT_EQ(code(model, {0, 3, 0, 256}), ErrorCode::kInvalid);  // of two
  EXPECT_EQ(code(model, {0, 1, 0, 96}), ErrorCode::kInvalid);   // inside a leaf
  EXPECT_EQ(code(model, {0, 1, 64, 256}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 1, 256, 640}), ErrorCode::kInvalid);
  EXPECT_EQ(code(mixture, {0, 1, 0, 128}), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace exo::backend
