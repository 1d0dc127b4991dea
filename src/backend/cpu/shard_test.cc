// A tensor split in one process: shards on threads, each with its part of every layer, give the
// bits of the stage that computes alone.
#include "backend/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <functional>
#include <numeric>
#include <thread>

#include "backend/cpu/cpu.h"
#include "backend/split_trees.h"
#include "backend/test_model.h"

namespace exo::backend {
namespace {

using tensor::DType;

// Shards of one process: what a network of devices does with messages.
class Group {
 public:
  Group(const model::ModelConfig& config, const std::vector<Shard>& shards)
      : shards_(shards),
        trees_(config, shards),
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
    Result<void> Sum(std::span<const SplitSum> sums) override {
      group_->given_[shard_] = sums;
      group_->arrived_.arrive_and_wait();
      for (size_t i = 0; i < sums.size(); ++i) {
        std::vector<std::span<const float>> values;
        for (const auto& given : group_->given_) values.push_back(given[i].own);
        for (size_t shard = 0; shard < values.size(); ++shard)
          EXPECT_EQ(values[shard].size(), group_->trees_.ValuesOf(shard, sums[i]));
        group_->trees_.Combine(sums[i], values);
      }
      group_->arrived_.arrive_and_wait();  // everybody has read
      return {};
    }

    Result<void> AskLogits(size_t, size_t count, uint32_t, std::span<const float>) override {
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
  const SplitTrees trees_;
  std::vector<std::span<const SplitSum>> given_;
  std::vector<std::span<const float>> logits_;
  std::barrier<> arrived_;
  std::vector<Member> members_;
};

// What each of the sequences that a stage computes uses of its adapters.
using Uses = std::vector<std::vector<AdapterUse>>;

// What is computed with beside the model's own weights.
struct Options {
  kernels::KvType kv_type = kernels::KvType::kF16;
  std::vector<StageAdapter> adapters = {};
  Uses uses = {{}};
};

StageSpec Whole(const TestModel& model, const Options& options = {}) {
  return {.config = model.config,
          .tensors = model.tensors,
          .layer_begin = 0,
          .layer_end = model.config->layers,
          .lead = true,
          .kv_type = options.kv_type,
          .chunk = 32,
          .adapters = options.adapters};
}

// A prompt of 29 tokens in two batches.
constexpr uint32_t kTokens = 29, kCut = 13;

// Logits of all its positions, with several sequences those of each in turn: of a shard, those of
// its part of the vocabulary. One that is not the lead is given the `embedded` tokens.
Result<std::vector<float>> Logits(
    StageCompute& stage, std::span<const float> embedded, Collective* collective, const Uses& uses,
    Wanted wanted = Wanted::kLogits,
    const std::function<void(std::span<const float>)>& done = nullptr) {
  for (size_t i = 0; i < uses.size(); ++i) TRY(stage.Open(i + 1, kTokens, uses[i]));
  std::vector<float> logits;
  for (const uint32_t first : {0u, kCut}) {
    std::vector<TokenId> tokens;
    std::vector<uint32_t> rows;
    std::vector<float> hidden;
    std::vector<Segment> segments;
    const size_t width = embedded.size() / kTokens;
    const uint32_t count = (first == 0 ? kCut : kTokens) - first;
    for (size_t sequence = 1; sequence <= uses.size(); ++sequence) {
      segments.push_back({.sequence = sequence, .first = first, .count = count});
      for (uint32_t i = first; i < first + count; ++i) {
        tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
        if (tokens.size() % uses.size() == 0)
          rows.push_back(static_cast<uint32_t>(tokens.size() - 1));
      }
      const auto own = embedded.subspan(first * width, count * width);
      hidden.insert(hidden.end(), own.begin(), own.end());
    }
    Batch batch = {.segments = segments,
                   .tokens = tokens,
                   .output_rows = rows,
                   .wanted = wanted,
                   .collective = collective};
    if (width != 0) {
      batch.tokens = {};
      batch.hidden = hidden;
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
                             const std::vector<Shard>& shards, const Options& options = {}) {
  Group group(*model.config, shards);
  std::vector<float> logits;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shards.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto pool = MakeComputePool(1 + i % 2);
      const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
      StageSpec spec = Whole(model, options);
      spec.lead = i == 0;
      spec.shard = shards[i];
      const auto stage = backend->Load(spec, model.source, {}, nullptr);
      ASSERT_TRUE(stage.has_value()) << stage.error().message;
      const StageBytes bytes = backend->Estimate(spec);
      EXPECT_GT(bytes.weights, 0u);
      EXPECT_EQ((*stage)->weights_bytes(), bytes.weights);
      const auto give = [&](std::span<const float> own) { group.GiveLogits(i, own); };
      auto own = i == 0 ? Logits(**stage, {}, &group.member(i), options.uses)
                        : Logits(**stage, embedded, &group.member(i), options.uses,
                                 HasOutput(spec) ? Wanted::kLogits : Wanted::kOutput, give);
      ASSERT_TRUE(own.has_value()) << own.error().message;
      if (i == 0) logits = std::move(*own);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return logits;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return !a.empty() && a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// What one stage and what each of these groups of shards makes of the same prompt.
void ExpectTheBitsOfOneStage(TestModel& model, const std::vector<std::vector<Shard>>& groups,
                             const Options& options = {}) {
  const auto pool = MakeComputePool(2);
  const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
  const auto alone = backend->Load(Whole(model, options), model.source, {}, nullptr);
  ASSERT_TRUE(alone.has_value());
  const auto expected = Logits(**alone, {}, nullptr, options.uses);
  ASSERT_TRUE(expected.has_value());
  const std::vector<float> embedded = Embedded(**alone);
  for (const std::vector<Shard>& shards : groups) {
    const auto logits = AllAtOnce(model, embedded, shards, options);
    EXPECT_TRUE(SameBits(logits, *expected)) << "group " << &shards - groups.data();
  }
}

class ShardTest : public testing::TestWithParam<std::tuple<DType, DType, Kind>> {};

TEST_P(ShardTest, TwoShardsGiveTheBitsOfOneStage) {
  const auto [matrices, output, kind] = GetParam();
  TestModel model(matrices, output, kind);
  const auto pool = MakeComputePool(2);
  const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
  const auto alone = backend->Load(Whole(model), model.source, {}, nullptr);
  ASSERT_TRUE(alone.has_value());
  const auto expected = Logits(**alone, {}, nullptr, {{}});
  ASSERT_TRUE(expected.has_value());
  const std::vector<float> embedded = Embedded(**alone);
  const bool super_blocks = tensor::Info(matrices).block_values == 256;
  if (super_blocks) {
    // Heads cannot be cut: 256 columns of attention output are one block.
    StageSpec spec = Whole(model);
    spec.shard = Shard{0, 2, 0, 256, 0, 64};
    EXPECT_EQ(backend->Load(spec, model.source, {}, nullptr).error().code, ErrorCode::kInvalid);
    return;
  }
  // The feed-forward block in halves, and unevenly: 1 | 3 leaves of 4, which is 1 | 1 + 2. The
  // vocabulary in any parts, the second of them empty at last.
  const uint32_t vocab = model.config->vocab;
  const std::pair<uint32_t, uint32_t> cuts[] = {{256, 64}, {128, 16}, {384, vocab}};
  for (const auto& [ffn, token] : cuts) {
    const auto logits =
        AllAtOnce(model, embedded, {{0, 2, 0, ffn, 0, token}, {2, 4, ffn, 512, token, vocab}});
    EXPECT_TRUE(SameBits(logits, *expected)) << ffn << " " << token;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ShardTest,
                         testing::Values(std::tuple{DType::kQ4_0, DType::kQ6_K, Kind::kLlama},
                                         std::tuple{DType::kQ8_0, DType::kQ8_0, Kind::kQwen},
                                         std::tuple{DType::kBF16, DType::kF16, Kind::kGemma},
                                         std::tuple{DType::kQ4_K, DType::kQ8_0, Kind::kLlama}));

// Shards with heads and experts in these parts, the first with the vocabulary. Of a mixture without
// a shared expert `columns` are none.
std::vector<Shard> Cut(const std::vector<uint32_t>& heads, const std::vector<uint32_t>& columns,
                       const std::vector<uint32_t>& experts) {
  std::vector<Shard> shards;
  Shard shard{.vocab_end = TestModel::kVocab};
  for (size_t i = 0; i < heads.size(); ++i) {
    shard.head_begin = std::exchange(shard.head_end, shard.head_end + heads[i]);
    shard.ffn_begin = std::exchange(shard.ffn_end, shard.ffn_end + columns[i]);
    shard.expert_begin = std::exchange(shard.expert_end, shard.expert_end + experts[i]);
    shards.push_back(shard);
    shard.vocab_begin = shard.vocab_end;
  }
  return shards;
}

class MixtureShardTest : public testing::TestWithParam<std::tuple<DType, DType>> {};

// Of 6 experts a row goes to 2.
TEST_P(MixtureShardTest, ExpertsOverOneToFiveShardsGiveTheBitsOfOneStage) {
  const auto [matrices, output] = GetParam();
  TestModel model(matrices, output, Kind::kExperts, {.heads = 10, .kv_heads = 5});
  ExpectTheBitsOfOneStage(
      model, {Cut({10}, {0}, {6}), Cut({4, 6}, {0, 0}, {3, 3}), Cut({6, 4}, {0, 0}, {1, 5}),
              Cut({2, 8}, {0, 0}, {0, 6}), Cut({2, 6, 2}, {0, 0, 0}, {2, 0, 4}),
              Cut({2, 2, 2, 4}, {0, 0, 0, 0}, {1, 1, 3, 1}),
              Cut({2, 2, 2, 2, 2}, {0, 0, 0, 0, 0}, {1, 2, 0, 2, 1})});
}

// Of 9 experts a row goes to 3, and to a shared one of 4 leaves.
TEST_P(MixtureShardTest, ASharedExpertIsDividedByColumns) {
  const auto [matrices, output] = GetParam();
  TestModel model(matrices, output, Kind::kSharedExpert, {.heads = 10, .kv_heads = 5});
  ExpectTheBitsOfOneStage(
      model, {Cut({10}, {512}, {9}), Cut({4, 6}, {128, 384}, {5, 4}), Cut({8, 2}, {512, 0}, {0, 9}),
              Cut({4, 4, 2}, {0, 384, 128}, {1, 7, 1}),
              Cut({2, 2, 2, 2, 2}, {128, 0, 256, 128, 0}, {3, 0, 1, 4, 1})});
}

INSTANTIATE_TEST_SUITE_P(Formats, MixtureShardTest,
                         testing::Values(std::tuple{DType::kQ4_0, DType::kQ6_K},
                                         std::tuple{DType::kQ8_0, DType::kQ8_0},
                                         std::tuple{DType::kBF16, DType::kF16}));

// Super-blocks of 256 columns are four heads.
TEST(SuperBlockShardTest, HeadsAreCutBetweenBlocks) {
  TestModel dense(DType::kQ4_K, DType::kQ8_0, Kind::kLlama, {.heads = 8, .kv_heads = 1});
  ExpectTheBitsOfOneStage(dense, {Cut({4, 4}, {256, 256}, {0, 0})});
}

// Heads of each shard, in groups that the model's shape does not divide so.
struct HeadCuts {
  const char* name;
  Kind kind;
  TestHeads heads;
  kernels::KvType kv_type;
  std::vector<std::vector<uint32_t>> cuts;
};
void PrintTo(const HeadCuts& cuts, std::ostream* out) {
  *out << cuts.name;
}

class HeadShardTest : public testing::TestWithParam<HeadCuts> {};

TEST_P(HeadShardTest, AGroupThatIsCutIsComputedByBothSides) {
  const HeadCuts& cuts = GetParam();
  TestModel model(DType::kQ8_0, DType::kQ8_0, cuts.kind, cuts.heads);
  const bool mixture = model.config->experts.count != 0;
  std::vector<std::vector<Shard>> groups;
  for (const std::vector<uint32_t>& heads : cuts.cuts) {
    const auto others = static_cast<uint32_t>(heads.size() - 1);
    std::vector<uint32_t> columns(heads.size(), mixture ? 0 : 128);
    std::vector<uint32_t> experts(heads.size(), mixture ? 1 : 0);
    (mixture ? experts : columns)[0] = mixture ? 6 - others : 512 - 128 * others;
    groups.push_back(Cut(heads, columns, experts));
  }
  ExpectTheBitsOfOneStage(model, groups, {.kv_type = cuts.kv_type});
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadShardTest,
                         testing::Values(HeadCuts{"GroupsOfThree",
                                                  Kind::kLlama,
                                                  {.heads = 6, .kv_heads = 2},
                                                  kernels::KvType::kF16,
                                                  {{2, 4}, {4, 2}, {2, 2, 2}}},
                                         HeadCuts{"OneKvHeadOfSeven",
                                                  Kind::kLlama,
                                                  {.heads = 7, .kv_heads = 1, .head_dim = 128},
                                                  kernels::KvType::kF16,
                                                  {{3, 4}, {1, 2, 4}, {1, 1, 4, 1}}},
                                         HeadCuts{"AnOddLastHead",
                                                  Kind::kQwen,
                                                  {.heads = 5, .kv_heads = 1},
                                                  kernels::KvType::kF32,
                                                  {{2, 3}, {4, 1}, {2, 2, 1}}},
                                         HeadCuts{"BothEndsOfAShardInAGroup",
                                                  Kind::kQwen,
                                                  {.heads = 12, .kv_heads = 3},
                                                  kernels::KvType::kQ8_0,
                                                  {{6, 6}, {2, 8, 2}, {2, 2, 2, 6}}},
                                         HeadCuts{"Windows",
                                                  Kind::kGemma,
                                                  {.heads = 6, .kv_heads = 2},
                                                  kernels::KvType::kF16,
                                                  {{2, 4}, {2, 2, 2}}},
                                         HeadCuts{"MoreShardsThanGroupsOfAMixture",
                                                  Kind::kExperts,
                                                  {.heads = 10, .kv_heads = 2},
                                                  kernels::KvType::kF16,
                                                  {{2, 2, 2, 2, 2}, {6, 2, 2}}}),
                         [](const auto& info) { return info.param.name; });

struct AdaptedCuts {
  const char* name;
  DType matrices;
  Kind kind;
  TestHeads heads;
  std::vector<std::vector<Shard>> groups;
};
void PrintTo(const AdaptedCuts& cuts, std::ostream* out) {
  *out << cuts.name;
}

class AdaptedShardTest : public testing::TestWithParam<AdaptedCuts> {};

// Two sequences in one batch: one with two adapters, the other with two of which it shares one.
TEST_P(AdaptedShardTest, ShardsGiveTheBitsOfOneStageWithAdapters) {
  const AdaptedCuts& cuts = GetParam();
  TestModel model(cuts.matrices, DType::kQ8_0, cuts.kind, cuts.heads);
  Options options{.adapters = {model.MakeAdapter("one.", DType::kF32, 4, 8),
                               model.MakeAdapter("two.", DType::kF16, 17, 0),
                               model.MakeAdapter("three.", DType::kQ8_0, 32, 16)},
                  .uses = {{{0, 0.5f}, {2, -1}}, {{1, 0.25f}, {2, 0.75f}}}};
  ExpectTheBitsOfOneStage(model, cuts.groups, options);
  // They do change the answer.
  const auto embedded = [&] {
    const auto pool = MakeComputePool(1);
    const auto backend = MakeCpuBackend(**kernels::ChooseKernels(""), *pool);
    return Embedded(**backend->Load(Whole(model, {}), model.source, {}, nullptr));
  }();
  const auto with = AllAtOnce(model, embedded, cuts.groups.back(), options);
  options.uses = {{}, {}};
  EXPECT_FALSE(SameBits(with, AllAtOnce(model, embedded, cuts.groups.back(), options)));
}

INSTANTIATE_TEST_SUITE_P(
    Models, AdaptedShardTest,
    testing::Values(
        AdaptedCuts{"Llama",
                    DType::kQ4_0,
                    Kind::kLlama,
                    {.heads = 8, .kv_heads = 4},
                    {Cut({8}, {512}, {0}), Cut({2, 6}, {384, 128}, {0, 0}),
                     Cut({2, 4, 2}, {128, 128, 256}, {0, 0, 0}),
                     Cut({2, 2, 2, 2}, {128, 128, 128, 128}, {0, 0, 0, 0})}},
        // One KV head is there twice, its adapter too.
        AdaptedCuts{"QwenWithAGroupCut",
                    DType::kF16,
                    Kind::kQwen,
                    {.heads = 6, .kv_heads = 2},
                    {Cut({2, 4}, {128, 384}, {0, 0}), Cut({2, 2, 2}, {256, 128, 128}, {0, 0, 0})}},
        AdaptedCuts{"GemmaWithNormsBehind",
                    DType::kQ8_0,
                    Kind::kGemma,
                    {.heads = 6, .kv_heads = 2},
                    {Cut({4, 2}, {384, 128}, {0, 0})}},
        AdaptedCuts{"Mixture",
                    DType::kQ8_0,
                    Kind::kExperts,
                    {.heads = 10, .kv_heads = 5},
                    {Cut({4, 6}, {0, 0}, {1, 5}), Cut({2, 2, 2, 4}, {0, 0, 0, 0}, {1, 1, 3, 1})}},
        // A shard without columns still adds what all of them make of B.
        AdaptedCuts{"SharedExpert",
                    DType::kQ4_0,
                    Kind::kSharedExpert,
                    {.heads = 10, .kv_heads = 5},
                    {Cut({4, 6}, {128, 384}, {5, 4}), Cut({8, 2}, {512, 0}, {0, 9}),
                     Cut({4, 4, 2}, {0, 384, 128}, {1, 7, 1})}}),
    [](const auto& info) { return info.param.name; });

// A quantized A is cut inside its blocks: the floats that they stand for are.
TEST(AdapterShardTest, AnAdapterOfSuperBlocksIsCutBetweenLeaves) {
  TestModel model(DType::kQ8_0, DType::kQ8_0, Kind::kLlama);
  ExpectTheBitsOfOneStage(
      model, {Cut({2, 2}, {128, 384}, {0, 0})},
      {.adapters = {model.MakeAdapter("k.", DType::kQ4_K, 256, 8)}, .uses = {{{0, 0.5f}}}});
}

TEST(ShardPlanTest, PartsAreTheSubtreesOfTheShardsLeaves) {
  TestModel model(DType::kQ8_0, DType::kQ8_0, Kind::kLlama);
  StageSpec spec = Whole(model);
  spec.shard = Shard{2, 4, 128, 512, 32, 64};
  const auto plan = PlanShard(spec);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->spec.config->heads, 2u);
  EXPECT_EQ(plan->spec.config->ffn_width, 384u);
  EXPECT_EQ(plan->spec.config->kv_heads, 1u);
  EXPECT_EQ(plan->group, 2u);
  EXPECT_EQ(plan->max_parts, 2u);
  EXPECT_EQ(plan->spec.tensors->output.rows, 32u);
  ASSERT_EQ(plan->layers.size(), 5u);
  ASSERT_EQ(plan->layers[0].down.size(), 2u);
  EXPECT_EQ(plan->layers[0].down[0].leaves, (LeafRange{1, 2}));
  EXPECT_EQ(plan->layers[0].down[1].leaves, (LeafRange{2, 4}));
  EXPECT_EQ(plan->layers[0].down[1].tensor.cols, 256u);
}

// A shard of [2, 5) of 8 heads, four of which share a KV head, and of 3 experts of 9.
TEST(ShardPlanTest, AShardHasItsHeadsAndExpertsAlone) {
  TestModel model(DType::kQ8_0, DType::kQ8_0, Kind::kSharedExpert,
                  {.heads = 8, .kv_heads = 2, .head_dim = 128});
  StageSpec spec = Whole(model);
  spec.lead = false;
  spec.shard = Shard{.head_begin = 2, .head_end = 5, .expert_begin = 4, .expert_end = 7};
  const auto plan = PlanShard(spec);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->spec.config->heads, 3u);
  EXPECT_EQ(plan->spec.config->kv_heads, 2u);
  const model::LayerTensors& layer = plan->spec.tensors->layers[0];
  EXPECT_EQ(layer.attn_q.rows, 3u * 128);
  EXPECT_EQ(layer.attn_k.rows, 2u * 128);
  EXPECT_FALSE(layer.ffn_down.has_value());
  EXPECT_EQ(layer.router->rows, 9u) << "every shard routes";
  EXPECT_EQ(layer.gate_exps->count, 3u);
  EXPECT_EQ(layer.gate_exps->bytes * 3, model.tensors->layers[0].gate_exps->bytes);
  ShardSource parts(model.source, *plan);
  const uint64_t bytes = layer.down_exps->bytes;
  const auto own = parts.Read(*layer.down_exps, 0, bytes).value();
  const auto all =
      model.source.Read(*model.tensors->layers[0].down_exps, bytes / 3 * 4, bytes).value();
  EXPECT_TRUE(std::ranges::equal(own, all));
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
  EXPECT_EQ(code(model, {0, 2, 0, 256, 0, 16}), std::nullopt);
  EXPECT_EQ(code(model, {0, 2, 0, 256, 32, vocab}), std::nullopt);
  EXPECT_EQ(code(model, {0, 2, 0, 256, 0, 0}), ErrorCode::kInvalid);   // a lead without
  EXPECT_EQ(code(model, {0, 2, 0, 256, 0, 24}), ErrorCode::kInvalid);  // inside a panel
  EXPECT_EQ(code(model, {0, 2, 0, 256, 16, vocab + 16}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 0, 0, 256, 0, vocab}), ErrorCode::kInvalid);  // no heads
  EXPECT_EQ(code(model, {0, 5, 0, 256, 0, vocab}), ErrorCode::kInvalid);  // of four
  EXPECT_EQ(code(model, {0, 1, 0, 256, 0, vocab}), ErrorCode::kInvalid);  // inside a leaf
  EXPECT_EQ(code(model, {0, 2, 0, 96, 0, vocab}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 2, 64, 256, 0, vocab}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 2, 256, 640, 0, vocab}), ErrorCode::kInvalid);
  EXPECT_EQ(code(model, {0, 2, 256, 256, 0, vocab}), ErrorCode::kInvalid);      // no columns
  EXPECT_EQ(code(model, {0, 2, 0, 256, 0, vocab, 0, 1}), ErrorCode::kInvalid);  // of no experts
  EXPECT_EQ(code(mixture, {0, 2, 0, 0, 0, vocab, 2, 6}), std::nullopt);
  EXPECT_EQ(code(mixture, {0, 2, 0, 0, 0, vocab, 2, 7}), ErrorCode::kInvalid);
  EXPECT_EQ(code(mixture, {0, 2, 0, 0, 0, vocab, 3, 2}), ErrorCode::kInvalid);
  EXPECT_EQ(code(mixture, {0, 2, 0, 128, 0, vocab, 2, 6}), ErrorCode::kInvalid);  // it has none
}

}  // namespace
}  // namespace exo::backend
