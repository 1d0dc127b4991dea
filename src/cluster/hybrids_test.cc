// Layers over groups: what the search finds beside all there is, and when the planner takes it.
#include "cluster/hybrids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "base/random.h"
#include "base/units.h"
#include "cluster/partition.h"
#include "cluster/tensor_split.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// Layers of 100 MiB, 60 of them the feed-forward block; 50 MiB of embedding and of output.
ModelShape HybridShape(uint32_t layers) {
  ModelShape shape{.name = "m", .width = 4096, .trained_context = 1024};
  shape.id.bytes[0] = 9;
  shape.layer_bytes.assign(layers, 100 * kMiB);
  shape.embedding_bytes = shape.output_bytes = 50 * kMiB;
  shape.kv_bytes_per_position = {256, 512, 136};
  shape.ops_per_token_layer = 200'000'000;
  shape.scratch_bytes = 10 * kMiB;
  shape.cuts = {.kv_heads = 8,
                .heads = 32,
                .head_step = 1,
                .ffn_width = 14336,
                .ffn_step = 128,
                .vocab = 128000,
                .vocab_step = 16};
  shape.layer_parts.assign(layers, {.heads = 32 * kMiB, .kv = 8 * kMiB, .ffn = 60 * kMiB});
  return shape;
}

PlanNode HybridNode(uint8_t number, uint64_t memory, double speed, double rtt_ms) {
  PlanNode node{.name = fmt::format("n{}", number),
                .memory_available = memory,
                .memory_budget = memory,
                .decode_gbps = speed,
                .prefill_gops = speed * 10,
                .rtt_ms = rtt_ms};
  node.id.bytes[0] = number;
  return node;
}

Search SearchOf(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                const PlanOptions& options) {
  return {.shape = shape, .nodes = nodes, .options = options, .context = 1024, .page_choices = {4}};
}

// Of what fits, the best predictions: every order of every subset, cut into groups in every way,
// and every cut of the layers.
class BruteForce {
 public:
  BruteForce(const Search& search, uint64_t pages) : search_(search), pages_(pages) {}

  struct Speeds {
    double hybrid = 0;
    double other = 0;
  };
  Speeds Best() {
    std::vector<size_t> order(search_.nodes.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    do {
      for (size_t count = 1; count <= order.size(); ++count) {
        for (uint32_t cuts = 0; cuts < 1u << (count - 1); ++cuts)
          TryGroups({order.begin(), order.begin() + static_cast<ptrdiff_t>(count)}, cuts);
      }
    } while (std::ranges::next_permutation(order).found);
    return best_;
  }

 private:
  // Bit i of `cuts`: a group ends behind node i.
  void TryGroups(const std::vector<size_t>& nodes, uint32_t cuts) {
    std::vector<std::vector<size_t>> groups = {{}};
    for (size_t i = 0; i < nodes.size(); ++i) {
      groups.back().push_back(nodes[i]);
      if (i + 1 < nodes.size() && (cuts >> i & 1) != 0) groups.emplace_back();
    }
    TryEnds(groups, {});
  }
  void TryEnds(const std::vector<std::vector<size_t>>& groups, const std::vector<uint32_t>& ends) {
    if (ends.size() + 1 == groups.size()) {
      std::vector<uint32_t> all = ends;
      all.push_back(search_.shape.layers());
      return Try(groups, all);
    }
    const auto left = static_cast<uint32_t>(groups.size() - ends.size() - 1);
    for (uint32_t end = (ends.empty() ? 0 : ends.back()) + 1; end + left <= search_.shape.layers();
         ++end) {
      std::vector<uint32_t> more = ends;
      more.push_back(end);
      TryEnds(groups, more);
    }
  }
  void Try(const std::vector<std::vector<size_t>>& groups, const std::vector<uint32_t>& ends) {
    Placement placement{.pages = pages_};
    for (size_t g = 0; g < groups.size(); ++g) {
      std::vector<PlanNode> nodes;
      for (const size_t node : groups[g]) nodes.push_back(search_.nodes[node]);
      const std::vector<wire::ShardPlan> parts = DivideLayers(search_.shape, nodes);
      for (size_t i = 0; i < nodes.size(); ++i) {
        placement.nodes.push_back(groups[g][i]);
        placement.ends.push_back(ends[g]);
        placement.shards.emplace_back();
        if (nodes.size() > 1) placement.shards.back() = parts[i];
        if (placement.shards.back() && g > 0)
          placement.shards.back()->vocab_begin = placement.shards.back()->vocab_end = 0;
      }
    }
    const wire::Plan plan = BuildPlan(search_, placement);
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      if (plan.stages[i].bytes > search_.nodes[placement.nodes[i]].memory_available) return;
    }
    const bool one =
        std::ranges::all_of(placement.shards, [](const auto& shard) { return !shard.has_value(); });
    if (one) placement.shards.clear();
    double& best = placement.split() == wire::Split::kHybrid ? best_.hybrid : best_.other;
    best = std::max(best, Predict(search_.shape, search_.nodes, plan).decode_tokens_per_second);
  }

  const Search& search_;
  const uint64_t pages_;
  Speeds best_;
};

double FastestOf(const std::vector<Placement>& placements) {
  double fastest = 0;
  for (const Placement& placement : placements) {
    if (placement.valid())
      fastest = std::max(fastest, placement.prediction.decode_tokens_per_second);
  }
  return fastest;
}

// Nodes that need each other's memory, and links from short to long. What is found is a hybrid that
// fits, and no other one is faster by more than a few percent where the fastest of all is one.
TEST(HybridsTest, NoHybridIsMuchFasterThanTheOneThatIsFound) {
  Rng rng(5);
  const ModelShape shape = HybridShape(7);
  const PlanOptions options;
  size_t compared = 0;
  double worst = 1;
  for (int cluster = 0; cluster < 40; ++cluster) {
    const size_t count = 3 + rng.Below(2);
    const double rtt = 0.02 + 0.2 * rng.Uniform();
    std::vector<PlanNode> nodes;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t memory = (250 + rng.Below(350)) * kMiB;
      nodes.push_back(HybridNode(static_cast<uint8_t>(i + 1), memory,
                                 5 + static_cast<double>(rng.Below(15)), rtt));
    }
    const Search search = SearchOf(shape, nodes, options);
    const std::vector<Placement> found = FastestHybrids(search, 4);
    for (const Placement& placement : found) {
      if (!placement.valid()) continue;
      EXPECT_EQ(placement.split(), wire::Split::kHybrid);
      wire::Plan plan = BuildPlan(search, placement);
      EXPECT_TRUE(Validate(plan)) << Validate(plan).error().message;
      for (size_t i = 0; i < plan.stages.size(); ++i)
        EXPECT_LE(plan.stages[i].bytes, nodes[placement.nodes[i]].memory_available);
    }
    const BruteForce::Speeds best = BruteForce(search, 4).Best();
    const double own = FastestOf(found);
    EXPECT_LE(own, best.hybrid * (1 + 1e-9)) << cluster;
    if (best.hybrid <= best.other) continue;
    worst = std::min(worst, own / best.hybrid);
    ++compared;
  }
  printf("%zu clusters, the worst found hybrid has %.3f of the best one's speed\n", compared,
         worst);
  EXPECT_GE(compared, 2u);
  EXPECT_GT(worst, 0.9);
}

// Eight different nodes, each of which holds a sixth of a model of 80 layers.
TEST(HybridsTest, EightNodesAreComparedSoon) {
  ModelShape shape = HybridShape(80);
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 8; ++i) {
    nodes.push_back(HybridNode(i, (1350 + 50 * i) * kMiB, 5 + i, 0.05));
    if (i > 4) nodes.back().memory_available = nodes.back().memory_budget = 2 * kGiB;
  }
  const PlanOptions options;
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Placement> found = FastestHybrids(SearchOf(shape, nodes, options), 4);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  printf("%.1f ms\n", took.count());
  EXPECT_GT(FastestOf(found), 0);
}

TEST(HybridsTest, AGroupThatHoldsTheModelNeedsNoOthers) {
  const ModelShape shape = HybridShape(8);
  const PlanOptions options;
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 4; ++i) nodes.push_back(HybridNode(i, 4 * kGiB, 10, 0.05));
  EXPECT_EQ(FastestOf(FastestHybrids(SearchOf(shape, nodes, options), 4)), 0);
}

// The fastest that was compared, of hybrids and of all else.
std::pair<double, double> FastestRivals(const PlanChoice& choice) {
  double hybrid = 0, other = 0;
  for (const wire::PlanRival& rival : choice.rivals) {
    double& speed = rival.split == wire::Split::kHybrid ? hybrid : other;
    speed = std::max(speed, rival.decode_tokens_per_second);
  }
  return {hybrid, other};
}

// Four fast nodes side by side that hold nearly all of the model, and a slow one far away with room
// for the rest, whose round trip a split of each layer over all of them would wait for 40 times.
TEST(HybridsTest, IsTakenWhereItGainsEnoughAndSaysSo) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 4; ++i) nodes.push_back(HybridNode(i, 500 * kMiB, 20, 0.02));
  nodes.push_back(HybridNode(5, 1500 * kMiB, 10, 4));
  const auto choice = MakePlan(HybridShape(20), nodes, {.context = 1024});
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->basis, wire::PlanBasis::kFasterHybrid);
  const auto [hybrid, other] = FastestRivals(*choice);
  EXPECT_GT(hybrid, kWorthSplitting * other);
  EXPECT_EQ(wire::GroupsOf(choice->plan).size(), 2u);
  for (const wire::PlanRival& rival : choice->rivals) {
    if (rival.split != wire::Split::kHybrid) continue;
    uint32_t in_groups = 0;
    for (const uint32_t group : rival.groups) in_groups += group;
    EXPECT_EQ(in_groups, rival.nodes.size());
  }
}

// Three nodes that need each other's memory, on links where two of them are faster side by side,
// but by less than such predictions have been off.
TEST(HybridsTest, IsNotTakenWhereItGainsTooLittle) {
  const std::vector<PlanNode> nodes = {HybridNode(1, 440 * kMiB, 20, 1),
                                       HybridNode(2, 440 * kMiB, 20, 1),
                                       HybridNode(3, 700 * kMiB, 18, 1)};
  const auto choice = MakePlan(HybridShape(13), nodes, {.context = 1024});
  ASSERT_TRUE(choice) << choice.error().message;
  const auto [hybrid, other] = FastestRivals(*choice);
  EXPECT_GT(hybrid, other);
  EXPECT_LT(hybrid, kWorthSplitting * other);
  EXPECT_FALSE(wire::HasShards(choice->plan));
}

// Its layers are cut for one token, whatever it is for.
TEST(HybridsTest, AsAskedItIsOverAllNodesInProportionToTheirSpeed) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 3; ++i) nodes.push_back(HybridNode(i, 4 * kGiB, 10, 0.02));
  for (const wire::Use use : {wire::Use::kLatency, wire::Use::kPrompts}) {
    const auto choice = MakePlan(HybridShape(12), nodes,
                                 {.split = wire::Split::kHybrid, .use = use, .context = 1024});
    ASSERT_TRUE(choice) << choice.error().message;
    EXPECT_EQ(choice->basis, wire::PlanBasis::kHybrid);
    const wire::Plan& plan = choice->plan;
    ASSERT_TRUE(Validate(plan)) << Validate(plan).error().message;
    ASSERT_EQ(plan.stages.size(), 3u);
    for (const wire::StageGroup& group : wire::GroupsOf(plan)) {
      const wire::StagePlan& first = plan.stages[group.begin];
      const uint32_t layers = first.layer_end - first.layer_begin;
      EXPECT_NEAR(layers, group.size() == 2 ? 8 : 4, 1) << "two nodes are about as fast as two";
    }
    EXPECT_NEAR(choice->prediction.ttft_ms, Predict(HybridShape(12), nodes, plan, 1, use).ttft_ms,
                1e-6)
        << "of a prompt of this use";
  }
}

TEST(HybridsTest, MemoryWithoutEndIsAsGoodAsEnough) {
  const ModelShape shape = HybridShape(12);
  const PlanOptions options;
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 3; ++i) nodes.push_back(HybridNode(i, 16 * kGiB, 10, 0.02));
  const Placement enough = SpreadHybrid(SearchOf(shape, nodes, options));
  ASSERT_EQ(enough.nodes.size(), 3u);
  for (PlanNode& node : nodes) node.memory_available = node.memory_budget = UINT64_MAX;
  const Placement endless = SpreadHybrid(SearchOf(shape, nodes, options));
  EXPECT_EQ(endless.nodes, enough.nodes);
  EXPECT_EQ(endless.ends, enough.ends);
}

// A group of 64 and single nodes beside it would be more than a plan may have.
TEST(HybridsTest, APlanHasNoMoreNodesThanItMay) {
  ModelShape shape = HybridShape(4);
  shape.cuts.heads = 64;
  const PlanOptions options;
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 70; ++i) nodes.push_back(HybridNode(i, 4 * kGiB, 10, 0.02));
  const Search search = SearchOf(shape, nodes, options);
  const Placement spread = SpreadHybrid(search);
  ASSERT_TRUE(spread.valid());
  EXPECT_LE(spread.nodes.size(), wire::kMaxStages);
  const auto valid = Validate(BuildPlan(search, spread));
  EXPECT_TRUE(valid) << valid.error().message;
}

// Smaller chunks keep both groups busy, but each waits for the round trips of all its sums.
TEST(HybridsTest, APromptWaitsForTheSumsOfEveryChunk) {
  const ModelShape shape = HybridShape(8);
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 3; ++i) {
    nodes.push_back(HybridNode(i, 4 * kGiB, 10, 60));
    nodes.back().prefill_gops = i == 1 ? 256 : 1e6;
  }
  const PlanOptions options;
  const Search search = SearchOf(shape, nodes, options);
  const std::vector<wire::ShardPlan> parts = DivideLayers(shape, {nodes[1], nodes[2]});
  Placement hybrid{.nodes = {0, 1, 2}, .ends = {2, 8, 8}, .shards = {{}, parts[0], parts[1]}};
  hybrid.pages = 4;
  for (size_t i = 1; i < 3; ++i) hybrid.shards[i]->vocab_begin = hybrid.shards[i]->vocab_end = 0;
  const Prediction prediction = Predict(shape, nodes, BuildPlan(search, hybrid));
  const double sums_ms = 6 * 2 * (30 + kVisitMs);
  ASSERT_EQ(wire::PromptTokensOf(wire::Use::kLatency), 2 * options.chunk);
  EXPECT_GT(prediction.ttft_ms,
            prediction.stage_chunk_ms[0] + 2 * (sums_ms + prediction.stage_chunk_ms[1]));
}

TEST(HybridsTest, TwoNodesAskedForGroupsAreDividedAsIsBest) {
  const std::vector<PlanNode> nodes = {HybridNode(1, 4 * kGiB, 10, 0.4),
                                       HybridNode(2, 4 * kGiB, 10, 0.4)};
  const auto choice =
      MakePlan(HybridShape(8), nodes, {.split = wire::Split::kHybrid, .context = 1024});
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_NE(choice->basis, wire::PlanBasis::kHybrid);
}

TEST(HybridsTest, WhatCannotBeSplitIsRefused) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 3; ++i) nodes.push_back(HybridNode(i, 4 * kGiB, 10, 0.02));
  const auto lossy =
      MakePlan(HybridShape(8), nodes, {.split = wire::Split::kHybrid, .codec = wire::Codec::kInt8});
  ASSERT_FALSE(lossy);
  EXPECT_EQ(lossy.error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(lossy.error().message.contains("no int8 wire carries")) << lossy.error().message;
}

// A group is predicted as it is on its own, and a stage as it is in a pipeline.
TEST(HybridsTest, ThePredictionIsThatOfItsParts) {
  const ModelShape shape = HybridShape(8);
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 3; ++i) nodes.push_back(HybridNode(i, 4 * kGiB, 10, 0.1));
  const PlanOptions options;
  const Search search = SearchOf(shape, nodes, options);
  const std::vector<wire::ShardPlan> parts = DivideLayers(shape, {nodes[1], nodes[2]});
  Placement hybrid{.nodes = {0, 1, 2}, .ends = {2, 8, 8}, .shards = {{}, parts[0], parts[1]}};
  hybrid.pages = 4;
  for (size_t i = 1; i < 3; ++i) hybrid.shards[i]->vocab_begin = hybrid.shards[i]->vocab_end = 0;
  Placement pair{.nodes = {1, 2}, .ends = {8, 8}, .shards = {parts[0], parts[1]}};
  pair.pages = 4;
  Placement alone{.nodes = {0}, .ends = {8}};
  alone.pages = 4;
  const auto token_ms = [&](const Placement& placement) {
    return 1000 / Predict(shape, nodes, BuildPlan(search, placement)).decode_tokens_per_second;
  };
  const std::vector<Speeds> known = KnownSpeeds(nodes);
  const double layer = StepMs(CostOfLayer(shape, 0, known[0]), known[0], 1);
  const double output = StepMs(CostOfOutput(shape, known[0]), known[0], 1);
  // Six layers of eight, without its half of the output matrix; a visit and two hops, of which the
  // one there is waited for twice.
  const double group = (token_ms(pair) - output / 2) * 6 / 8;
  EXPECT_NEAR(token_ms(alone), 8 * layer + output + kVisitMs, 1e-6);
  EXPECT_NEAR(token_ms(hybrid), 2 * layer + output + group + 2 * kVisitMs + 2 * 0.05, 0.02);
}

}  // namespace
}  // namespace exo::cluster
