// A tensor split in one process: shards on threads, each with its part of every layer, give the
// bits of the stage that computes alone.
#include "backend/cpu/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <functional>
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
  explicit Group(const std::vector<Shard>& shards)
      : shards_(shards),
        given_(shards.size()),
        logits_(shards.size()),
        arrived_(static_cast<ptrdiff_t>(shards.size())) {
    for (size_t i = 0; i < shards.size(); ++i) members_.push_back({this, i});
  }
  Collective& member(size_t shard) { return members_[shard]; }
  // Of a shard that is not the lead, while that waits for them.
  void GiveLogits(size_t shard, std::span<const float> logits) {
    logits_[shard] = logits;
    arrived_.arrive_and_wait();
    arrived_.arrive_and_wait();  // the lead has read
  }

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

    Result<void> AskLogits(size_t, size_t count, uint32_t) override {
      rows_ = count;
      return {};
    }
    Result<void> TakeLogits(std::span<float> logits) override {
      group_->arrived_.arrive_and_wait();
      const size_t vocab = logits.size() / rows_;
      for (size_t i = 1; i < group_->shards_.size(); ++i) {
        const uint32_t begin = group_->shards_[i].vocab_begin;
        const size_t own = group_->shards_[i].vocab_end - begin;
        for (size_t row = 0; row < rows_; ++row) {
          std::ranges::copy(group_->logits_[i].subspan(row * own, own),
                            logits.begin() + static_cast<ptrdiff_t>(row * vocab + begin));
        }
      }
      group_->arrived_.arrive_and_wait();
      return {};
    }

   private:
    Group* group_;
    size_t shard_;
    size_t rows_ = 0;
  };

  const std::vector<Shard> shards_;
  std::vector<std::span<const Partial>> given_;
  std::vector<std::span<const float>> logits_;
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

// A prompt of 29 tokens in two batches.
constexpr uint32_t kTokens = 29, kCut = 13;

// Logits of all its positions: of a shard, those of its part of the vocabulary. One that is not the
// lead is given the `embedded` tokens.
Result<std::vector<float>> Logits(
    StageCompute& stage, std::span<const float> embedded, Collective* collective,
    Wanted wanted = Wanted::kLogits,
    const std::function<void(std::span<const float>)>& done = nullptr) {
  TRY(stage.Open(1, kTokens));
  std::vector<float> logits;
  for (const uint32_t first : {0u, kCut}) {
    std::vector<TokenId> tokens;
    std::vector<uint32_t> rows;
    for (uint32_t i = first; i < (first == 0 ? kCut : kTokens); ++i) {
      rows.push_back(i - first);
      tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
    }
    const Segment segment = {
        .sequence = 1, .first = first, .count = static_cast<uint32_t>(tokens.size())};
    const size_t width = embedded.size() / kTokens;
    Batch batch = {.segments = {&segment, 1},
                   .tokens = tokens,
                   .output_rows = rows,
                   .wanted = wanted,
                   .collective = collective};
    if (width != 0) {
      batch.tokens = {};
      batch.hidden = embedded.subspan(first * width, tokens.size() * width);
    }
    const auto running = TRY(stage.Run(batch));
    TRY(running->Wait());
    std::span<const float> own;
    if (batch.wanted == Wanted::kLogits) own = TRY(running->Logits(0, rows.size(), kAllLogits));
    if (done) done(own);
    logits.insert(logits.end(), own.begin(), own.end());
  }
  return logits;
}

std::vector<float> Embedded(StageCompute& lead) {
  std::vector<float> rows;
  for (uint32_t i = 0; i < kTokens; ++i) {
    const auto token = static_cast<TokenId>((i * i + 3 * i) % 300);
    const auto running = lead.Run({.tokens = {&token, 1}});
    const auto row = (*running)->Wait().value();
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

// The logits that the lead of these shards has.
std::vector<float> AllAtOnce(TestModel& model, std::span<const float> embedded,
                             const std::vector<Shard>& shards) {
  Group group(shards);
  std::vector<float> logits;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shards.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto pool = MakeComputePool(1 + i % 2);
      const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
      StageSpec spec = Whole(model);
      spec.lead = i == 0;
      spec.shard = shards[i];
      const auto stage = backend->Load(spec, model.source, {}, nullptr);
      ASSERT_TRUE(stage.has_value()) << stage.error().message;
      const StageBytes bytes = backend->Estimate(spec);
      EXPECT_GT(bytes.weights, 0u);
      EXPECT_EQ((*stage)->weights_bytes(), bytes.weights);
      const auto give = [&](std::span<const float> own) { group.GiveLogits(i, own); };
      auto own = i == 0 ? Logits(**stage, {}, &group.member(i))
                        : Logits(**stage, embedded, &group.member(i),
                                 HasOutput(spec) ? Wanted::kLogits : Wanted::kOutput, give);
      ASSERT_TRUE(own.has_value()) << own.error().message;
      if (i == 0) logits = std::move(*own);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return logits;
}

class ShardTest : public testing::TestWithParam<std::tuple<DType, DType, Kind>> {};

TEST_P(ShardTest, TwoShardsGiveTheBitsOfOneStage) {
  const auto [matrices, output, kind] = GetParam();
  TestModel model(matrices, output, kind);
  const auto pool = MakeComputePool(2);
  const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
  const auto alone = backend->Load(Whole(model), model.source, {}, nullptr);
  ASSERT_TRUE(alone.has_value());
  const auto expected = Logits(**alone, {}, nullptr);
  ASSERT_TRUE(expected.has_value());
  const std::vector<float> embedded = Embedded(**alone);
  const bool super_blocks = tensor::Info(matrices).block_values == 256;
  if (super_blocks) {
    // Heads cannot be cut: 256 columns of attention output are one block.
    StageSpec spec = Whole(model);
    spec.shard = Shard{0, 1, 0, 256, 0, 64};
    EXPECT_EQ(backend->Load(spec, model.source, {}, nullptr).error().code, ErrorCode::kInvalid);
    return;
  }
  // The feed-forward block in halves, and unevenly: 1 | 3 leaves of 4, which is 1 | 1 + 2. The
  // vocabulary in any parts, the second of them empty at last.
  const uint32_t vocab = model.config->vocab;
  const std::pair<uint32_t, uint32_t> cuts[] = {{256, 64}, {128, 16}, {384, vocab}};
  for (const auto& [ffn, token] : cuts) {
    const auto logits =
        AllAtOnce(model, embedded, {{0, 1, 0, ffn, 0, token}, {1, 2, ffn, 512, token, vocab}});
    ASSERT_EQ(logits.size(), expected->size());
    EXPECT_EQ(std::memcmp(logits.data(), expected->data(), logits.size() * sizeof(float)), 0)
        << ffn << " " << token;
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
  spec.shard = Shard{1, 2, 128, 512, 32, 64};
  const auto plan = PlanShard(spec);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->spec.config->heads, 2u);
  EXPECT_EQ(plan->spec.config->ffn_width, 384u);
  EXPECT_EQ(plan->attention_leaves, 2u);
  EXPECT_EQ(plan->ffn_leaves, 4u);
  EXPECT_EQ(plan->spec.tensors->output.rows, 32u);
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
  const uint32_t vocab = model.config->vocab;
  EXPECT_EQ(code(model, {0, 1, 0, 256, 0, 16}), std::nullopt);
  EXPECT_EQ(code(model, {0, 1, 0, 256, 32, vocab}), std::nullopt);
  EXPECT_EQ(code(model, {0, 1, 0, 256, 0, 0}), ErrorCode::kInvalid);   // a lead without
  EXPECT_EQ(code(model, {0, 1, 0, 256, 0, 24}), ErrorCode::kInvalid);  // inside a panel
  EXPECT_EQ(code(model, {0, 1, 0, 256, 16, vocab + 16}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 0, 0, 256, 0, vocab}), ErrorCode::kInvalid);  // no heads
  EXPECT_EQ(code(model, {0, 3, 0, 256, 0, vocab}), ErrorCode::kInvalid);  // of two
  EXPECT_EQ(code(model, {0, 1, 0, 96, 0, vocab}), ErrorCode::kInvalid);   // inside a leaf
  EXPECT_EQ(code(model, {0, 1, 64, 256, 0, vocab}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 1, 256, 640, 0, vocab}), ErrorCode::kInvalid);
  EXPECT_EQ(code(mixture, {0, 1, 0, 128, 0, vocab}), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace exo::backend
