#include "cluster/planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/units.h"
#include "cluster/partition.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// Layers of 100 MiB, 50 MiB of embedding and of output, 1 MiB of KV per layer and sequence, 10 MiB
// scratch.
ModelShape Shape(uint32_t layers = 8) {
  ModelShape shape{.name = "m", .width = 4096, .trained_context = 4096};
  shape.id.bytes[0] = 9;
  shape.layer_bytes.assign(layers, 100 * kMiB);
  shape.embedding_bytes = shape.output_bytes = 50 * kMiB;
  shape.kv_bytes_per_position = {256, 512};
  shape.ops_per_token_layer = 200'000'000;
  shape.scratch_bytes = 10 * kMiB;
  return shape;
}

PlanNode Node(uint8_t number, uint64_t memory, double speed) {
  PlanNode node{.name = fmt::format("n{}", number),
                .memory_available = memory,
                .memory_budget = memory,
                .decode_gbps = speed,
                .prefill_gops = speed * 10,
                .rtt_ms = 0.4};
  node.id.bytes[0] = number;
  return node;
}

std::vector<uint32_t> Layers(const wire::Plan& plan) {
  std::vector<uint32_t> counts;
  for (const auto& stage : plan.stages) counts.push_back(stage.layer_end - stage.layer_begin);
  return counts;
}

// What so many rows of sums take each of two shards: two subtrees there and two back, twice a
// layer.
double SumsMs(const ModelShape& shape, uint32_t rows) {
  return 2.0 * shape.layers() * 4 * 4 * shape.width * rows * kCarryMsPerByte;
}

// Every plan must be valid and fit.
PlanChoice Place(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                 const PlanOptions& options = {}) {
  auto choice = MakePlan(shape, nodes, options);
  EXPECT_TRUE(choice) << choice.error().message;
  if (!choice) return {};
  EXPECT_TRUE(Validate(choice->plan));
  for (const auto& stage : choice->plan.stages) {
    EXPECT_LT(stage.layer_begin, stage.layer_end);
    for (const PlanNode& node : nodes) {
      if (node.id == stage.node) {
        EXPECT_LE(stage.bytes, node.memory_available);
      }
    }
  }
  EXPECT_GT(choice->prediction.decode_tokens_per_second, 0);
  EXPECT_GT(choice->prediction.ttft_ms, 0);
  EXPECT_NE(choice->basis, wire::PlanBasis::kUnknown);
  return *std::move(choice);
}

// A node may read one format fast and another slowly: the model's own decides.
TEST(PlannerTest, AFormatCostsEachNodeItsOwn) {
  constexpr uint32_t kFormat = 14;
  ModelShape shape = Shape();
  shape.layer_work.assign(shape.layers(), {{kFormat, 100.0 * kMiB, 2e8}});
  shape.output_format = kFormat;
  PlanNode slow_at_it = Node(1, 2 * kGiB, 10);
  slow_at_it.formats = {{kFormat, 2.0, 1.0}};
  const PlanNode fair = Node(2, 2 * kGiB, 8);
  const auto choice = Place(shape, {slow_at_it, fair});
  ASSERT_EQ(choice.plan.stages.size(), 1u);
  EXPECT_EQ(choice.plan.stages[0].node.bytes[0], 2);
  shape.layer_work.assign(shape.layers(), {{kFormat + 1, 100.0 * kMiB, 2e8}});
  shape.output_format = kFormat + 1;
  EXPECT_EQ(Place(shape, {slow_at_it, fair}).plan.stages[0].node.bytes[0], 1);
}

TEST(PlannerTest, CostsOfFormatsAndLayersAreInThePrediction) {
  constexpr uint32_t kFormat = 14;
  ModelShape shape = Shape();
  PlanNode node = Node(1, 2 * kGiB, 10);
  const double plain_ms = 1000 / Place(shape, {node}).prediction.decode_tokens_per_second;
  shape.layer_work.assign(shape.layers(), {{kFormat, 100.0 * kMiB, 2e8}});
  shape.output_format = kFormat;
  node.formats = {{kFormat, 1.5, 3.0}};
  node.layer_bytes = 1e6;
  const auto costly = Place(shape, {node}).prediction;
  const double layer_bytes = 100.0 * kMiB, output_bytes = 50.0 * kMiB;
  const double more_ms = (0.5 * (8 * layer_bytes + output_bytes) + 8 * 1e6) / 10e9 * 1000;
  EXPECT_NEAR(1000 / costly.decode_tokens_per_second, plain_ms + more_ms, 1e-6);
  shape.layer_work.assign(shape.layers(), {{kFormat + 1, 100.0 * kMiB, 2e8}});
  EXPECT_NEAR(Place(shape, {node}).prediction.prefill_tokens_per_second,
              3 * costly.prefill_tokens_per_second, 0.05 * costly.prefill_tokens_per_second);
}

TEST(PlannerTest, TakesTheFastestNodeThatHoldsTheModelAlone) {
  const auto choice =
      Place(Shape(), {Node(1, 2 * kGiB, 5), Node(2, 2 * kGiB, 20), Node(3, 100 * kMiB, 90)});
  ASSERT_EQ(choice.plan.stages.size(), 1u);
  EXPECT_EQ(choice.plan.stages[0].node.bytes[0], 2);
  EXPECT_EQ(choice.rivals.size(), 4u) << "each alone, and two together: the third holds no layer";
}

TEST(PlannerTest, PrefersTheAskingNodeAmongEquals) {
  const std::vector<PlanNode> nodes = {Node(1, 2 * kGiB, 5), Node(2, 2 * kGiB, 5),
                                       Node(3, 2 * kGiB, 5)};
  EXPECT_EQ(Place(Shape(), nodes, {.prefer = nodes[2].id}).plan.stages[0].node, nodes[2].id);
  EXPECT_EQ(Place(Shape(), nodes).plan.stages[0].node, nodes[0].id);
}

// Five layers of six attend to their last 512 positions: their KV does not grow with the context.
TEST(PlannerTest, LayersWithAWindowLeaveRoomForALongContext) {
  ModelShape shape = Shape(12);
  shape.trained_context = 131072;
  shape.kv_bytes_per_position = {4096, 8192};
  const std::vector<PlanNode> nodes = {Node(1, 4096 * kMiB, 5)};
  const auto all = Place(shape, nodes);
  shape.window = 512;
  shape.window_period = 6;
  const auto windowed = Place(shape, nodes);
  EXPECT_GT(windowed.plan.context, 2 * all.plan.context);
  // 16 sequences of 4 pages each, in ten of twelve layers.
  const uint64_t kv = uint64_t{4096} * 256 * (2 * windowed.plan.kv_pages + 10 * 64);
  EXPECT_EQ(windowed.plan.stages[0].bytes, 12 * 100 * kMiB + 2 * 50 * kMiB + 10 * kMiB + kv);
  EXPECT_LE(windowed.plan.stages[0].bytes, 4096 * kMiB);
}

TEST(PlannerTest, RefusesWithTheSumsWhenNothingFits) {
  const auto choice = MakePlan(Shape(), {Node(1, 450 * kMiB, 5)}, {});
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code, ErrorCode::kOverloaded);
  // 8 layers of 100 MiB + 1 MiB KV for one sequence, 2 x 50, 10.
  EXPECT_NE(choice.error().message.find("918.0 MiB"), std::string::npos) << choice.error().message;
  EXPECT_NE(choice.error().message.find("450.0 MiB"), std::string::npos) << choice.error().message;
  EXPECT_NE(choice.error().message.find("n1"), std::string::npos);
  const auto two = MakePlan(Shape(), {Node(1, 450 * kMiB, 5), Node(2, 450 * kMiB, 5)}, {});
  ASSERT_FALSE(two);
  EXPECT_NE(two.error().message.find("900.0 MiB"), std::string::npos) << two.error().message;
}

TEST(PlannerTest, ThreeNodesHoldWhatOneCannot) {
  const auto choice =
      Place(Shape(), {Node(1, 450 * kMiB, 5), Node(2, 450 * kMiB, 5), Node(3, 450 * kMiB, 5)});
  EXPECT_EQ(choice.plan.stages.size(), 3u);
  EXPECT_EQ(choice.plan.layers, 8u);
}

TEST(PlannerTest, UsesNoMoreNodesThanNeeded) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 6; ++i) nodes.push_back(Node(i, 600 * kMiB, 5));
  EXPECT_EQ(Place(Shape(), nodes).plan.stages.size(), 2u);
}

TEST(PlannerTest, DividesLayersInProportionToSpeed) {
  ModelShape shape = Shape(12);
  shape.output_bytes = 0;
  const auto choice =
      Place(shape, {Node(1, 4 * kGiB, 30), Node(2, 4 * kGiB, 20), Node(3, 4 * kGiB, 10)},
            {.split = wire::Split::kLayer});
  std::map<uint8_t, uint32_t> layers;
  for (const auto& stage : choice.plan.stages)
    layers[stage.node.bytes[0]] = stage.layer_end - stage.layer_begin;
  EXPECT_EQ(layers[1], 6u);
  EXPECT_EQ(layers[2], 4u);
  EXPECT_EQ(layers[3], 2u);
}

TEST(PlannerTest, CountsTheOutputMatrixOnTheLead) {
  ModelShape shape = Shape(8);
  shape.output_bytes = 200 * kMiB;  // as much to read as two layers
  const auto choice =
      Place(shape, {Node(1, 4 * kGiB, 10), Node(2, 4 * kGiB, 10)}, {.split = wire::Split::kLayer});
  EXPECT_EQ(Layers(choice.plan), (std::vector<uint32_t>{3, 5}));
}

TEST(PlannerTest, MemoryBeatsSpeed) {
  const auto choice = Place(Shape(), {Node(1, 260 * kMiB, 100), Node(2, 4 * kGiB, 1)},
                            {.split = wire::Split::kLayer});
  for (const auto& stage : choice.plan.stages) {
    if (stage.node.bytes[0] == 1) {
      EXPECT_LE(stage.layer_end - stage.layer_begin, 2u);
    }
  }
}

// The first and the last layers are almost the text.
TEST(PlannerTest, GuestsHoldLayersInTheMiddleOnly) {
  std::vector<PlanNode> nodes = {Node(1, 600 * kMiB, 10), Node(2, 600 * kMiB, 10),
                                 Node(3, 2 * kGiB, 90)};
  nodes[2].guest = true;
  const auto place = [&](wire::Split split) {
    return Place(Shape(), nodes, {.split = split}).plan;
  };
  // The guest alone is fastest, and may not; with it in the middle it is faster than without.
  for (const wire::Split split : {wire::Split::kAuto, wire::Split::kLayer}) {
    const wire::Plan all = place(split);
    ASSERT_EQ(all.stages.size(), 3u);
    EXPECT_EQ(all.stages[1].node, nodes[2].id);
  }
  // Where two members cannot take it between them it gets nothing.
  nodes.erase(nodes.begin());
  nodes[0].memory_available = 2 * kGiB;
  for (const wire::Split split : {wire::Split::kAuto, wire::Split::kLayer}) {
    const wire::Plan alone = place(split);
    ASSERT_EQ(alone.stages.size(), 1u);
    EXPECT_EQ(alone.stages[0].node, nodes[0].id);
  }
  nodes[0].memory_available = 100 * kMiB;
  EXPECT_EQ(MakePlan(Shape(), nodes, {}).error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(MakePlan(Shape(), nodes, {.split = wire::Split::kLayer}).error().code,
            ErrorCode::kOverloaded);
}

// 8 layers of 100 MiB, 60 of them of the feed-forward block; 8 heads, 32 cuts of the columns.
ModelShape CutShape() {
  ModelShape shape = Shape();
  shape.cuts = {.kv_heads = 8,
                .kv_step = 1,
                .heads = 8,
                .head_step = 1,
                .ffn_width = 8192,
                .ffn_step = 256,
                .vocab = 32000,
                .vocab_step = 16};
  shape.layer_parts.assign(8, {.heads = 30 * kMiB, .kv = 10 * kMiB, .ffn = 60 * kMiB});
  shape.partials_bytes = kMiB;
  return shape;
}

// The same with 32 query heads, of which 4 share a KV head.
ModelShape GroupedShape() {
  ModelShape shape = CutShape();
  shape.cuts.heads = 32;
  return shape;
}

// 64 experts in 90 MiB of a layer's 100, of which a token goes to 8; the rest is attention, but for
// a MiB that every shard holds.
ModelShape MixtureShape() {
  ModelShape shape = GroupedShape();
  shape.cuts.ffn_width = 0;
  shape.cuts.experts = 64;
  shape.cuts.experts_used = 8;
  shape.layer_parts.assign(8, {.heads = 8 * kMiB, .kv = 1 * kMiB, .experts = 90 * kMiB});
  shape.layer_decode_bytes.assign(8, (10 + 90 / 8) * kMiB);
  return shape;
}

TEST(PlannerTest, SplitsLayersInProportionToSpeed) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 20), Node(2, 4 * kGiB, 10)};
  const PlanChoice choice = Place(CutShape(), nodes, {.split = wire::Split::kTensor});
  EXPECT_EQ(choice.basis, wire::PlanBasis::kTensor);
  ASSERT_EQ(choice.plan.stages.size(), 2u);
  EXPECT_EQ(choice.plan.stages[0].node, nodes[0].id) << "the output matrix is at the fastest";
  EXPECT_EQ(choice.plan.stages[0].shard, (wire::ShardPlan{0, 5, 0, 22 * 256, 0, 21328}));
  EXPECT_EQ(choice.plan.stages[1].shard, (wire::ShardPlan{5, 8, 22 * 256, 8192, 21328, 32000}));
  // 5 of 8 heads are too few for two thirds, 22 of 32 cuts make it good.
  const double part = (40 * 5.0 / 8 + 60 * 22.0 / 32) / 100;
  EXPECT_NEAR(part, 2.0 / 3, 0.02);
  EXPECT_NEAR(choice.prediction.stage_decode_ms[0],
              800 * 1.048576 * part / 20 + SumsMs(CutShape(), 1), 0.01);
  EXPECT_LT(choice.plan.stages[1].bytes, choice.plan.stages[0].bytes);
  const double alone = Place(CutShape(), {nodes[0]}).prediction.decode_tokens_per_second;
  EXPECT_GT(choice.prediction.decode_tokens_per_second, alone);
}

// A cut near a half is made there: the sums of either side are then one part.
TEST(PlannerTest, CutsColumnsWhereTheirTreeHasNodes) {
  const auto cut = [](double faster) {
    const auto nodes = {Node(1, 4 * kGiB, faster), Node(2, 4 * kGiB, 10)};
    return Place(CutShape(), nodes, {.split = wire::Split::kTensor}).plan.stages[0].shard->ffn_end;
  };
  EXPECT_EQ(cut(10), 16u * 256);
  EXPECT_EQ(cut(10.6), 16u * 256);
  EXPECT_EQ(cut(14), 18u * 256) << "too far from the half";
}

TEST(PlannerTest, SplitsLayersOverThoseThatHoldTheirPart) {
  const auto place = [](const std::vector<PlanNode>& nodes) {
    return Place(CutShape(), nodes, {.split = wire::Split::kTensor}).plan;
  };
  // Nine nodes for eight heads: the slowest gets none. One without memory neither.
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 9; ++i) nodes.push_back(Node(i, 4 * kGiB, i == 4 ? 1 : 10));
  const wire::Plan plan = place(nodes);
  EXPECT_EQ(plan.stages.size(), 8u);
  EXPECT_LT(StageOf(plan, nodes[3].id), 0);
  EXPECT_EQ(place({Node(1, 4 * kGiB, 10), Node(2, 20 * kMiB, 5)}).stages.size(), 1u);
  EXPECT_EQ(place({Node(1, 4 * kGiB, 10)}).stages.size(), 1u) << "nothing to split";
  nodes.resize(2);
  nodes[1].guest = true;
  EXPECT_EQ(place(nodes).stages.size(), 1u) << "a guest would see the text";
}

// Groups stay whole where there are as many as nodes.
TEST(PlannerTest, CutsGroupsOnlyForMoreNodesThanKvHeads) {
  const auto shards = [](uint8_t count) {
    std::vector<PlanNode> nodes;
    for (uint8_t i = 1; i <= count; ++i) nodes.push_back(Node(i, 4 * kGiB, 10));
    return Place(GroupedShape(), nodes, {.split = wire::Split::kTensor}).plan;
  };
  const wire::Plan whole = shards(8);
  ASSERT_EQ(whole.stages.size(), 8u);
  EXPECT_FALSE(whole.stages[3].shard->HasHeads());
  const wire::Plan cut = shards(12);
  ASSERT_EQ(cut.stages.size(), 12u);
  uint32_t heads = 0, on_two_sides = 0;
  for (const wire::StagePlan& stage : cut.stages) {
    const wire::ShardPlan& shard = *stage.shard;
    EXPECT_EQ(shard.head_begin, heads);
    EXPECT_EQ(shard.kv_begin, shard.head_begin / 4);
    EXPECT_EQ(shard.kv_end, (shard.head_end + 3) / 4);
    on_two_sides += shard.head_begin % 4 != 0;
    heads = shard.head_end;
  }
  EXPECT_EQ(heads, 32u);
  EXPECT_GT(on_two_sides, 0u);
  // Each of 12 has an equal part of the query heads and more of the KV heads than a twelfth.
  const uint64_t even = whole.stages[1].bytes;
  EXPECT_LT(cut.stages[1].bytes, even);
}

TEST(PlannerTest, DividesAMixtureByExpert) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 20), Node(2, 4 * kGiB, 10),
                                       Node(3, 4 * kGiB, 0.1)};
  const PlanChoice choice = Place(MixtureShape(), nodes, {.split = wire::Split::kTensor});
  EXPECT_EQ(choice.basis, wire::PlanBasis::kTensor);
  ASSERT_EQ(choice.plan.stages.size(), 3u);
  const auto& stages = choice.plan.stages;
  uint32_t experts = 0;
  for (const wire::StagePlan& stage : stages) {
    EXPECT_EQ(stage.shard->ffn_end, 0u);
    EXPECT_EQ(stage.shard->expert_begin, experts);
    experts = stage.shard->expert_end;
  }
  EXPECT_EQ(experts, 64u);
  EXPECT_GT(stages[0].shard->expert_end, 64 * 0.6);
  EXPECT_EQ(stages[2].shard->expert_begin, 64u) << "the slow one has a KV head and no expert";
  // With none of them it still holds its head, the KV cache of that and what is whole.
  EXPECT_LT(stages[2].bytes, stages[0].bytes / 3);
}

// Of 8 experts of 64 a half of the shards has 4 on average, and waits for whoever has more.
TEST(PlannerTest, AShardOfExpertsIsPredictedWithMoreThanItsShare) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 10), Node(2, 4 * kGiB, 10)};
  const PlanChoice choice = Place(MixtureShape(), nodes, {.split = wire::Split::kTensor});
  ASSERT_EQ(choice.plan.stages[0].shard->expert_end, 32u);
  const double attention = 9, experts = 90.0 / 8;
  const double deviation = std::sqrt(0.25 / 8 * (64 - 8) / 63);
  const double part = (attention / 2 + experts * (0.5 + deviation)) / (attention + experts);
  const double bytes = 8 * (10 + 90 / 8) * 1.048576;
  EXPECT_NEAR(choice.prediction.stage_decode_ms[0], bytes * part / 10 + SumsMs(MixtureShape(), 1),
              0.05);
  // Where a token goes to all of them there is nothing to draw.
  ModelShape all = MixtureShape();
  all.cuts.experts_used = 64;
  all.layer_decode_bytes = all.layer_bytes;
  const PlanChoice exact = Place(all, nodes, {.split = wire::Split::kTensor});
  EXPECT_NEAR(exact.prediction.stage_decode_ms[0], 8 * 100 * 1.048576 / 2 / 10 + SumsMs(all, 1),
              0.05);
}

TEST(PlannerTest, TheWireIsPartOfThePlanAndItsId) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 20), Node(2, 4 * kGiB, 10)};
  const wire::Plan exact = Place(Shape(), nodes, {.split = wire::Split::kLayer}).plan;
  const wire::Plan lossy =
      Place(Shape(), nodes, {.split = wire::Split::kLayer, .codec = wire::Codec::kInt8}).plan;
  EXPECT_NE(lossy.id, exact.id);
  EXPECT_TRUE(Validate(lossy));
  EXPECT_EQ(LossOf(exact), wire::WireLoss{});
  EXPECT_EQ(LossOf(lossy).codec, wire::Codec::kInt8);
  EXPECT_EQ(LossOf(lossy).cuts,
            (std::vector<uint32_t>{lossy.stages[0].layer_end, lossy.stages[1].layer_end}));
  // Rows of one node cross no wire.
  EXPECT_EQ(LossOf(Place(Shape(), {nodes[0]}, {.codec = wire::Codec::kInt8}).plan),
            wire::WireLoss{});
  wire::Plan shards = Place(CutShape(), nodes, {.split = wire::Split::kTensor}).plan;
  shards.codec = wire::Codec::kF16;
  shards.id = ComputePlanId(shards);
  EXPECT_FALSE(Validate(shards));
}

TEST(PlannerTest, WhatCannotBeSplitIsRefused) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 20), Node(2, 4 * kGiB, 10)};
  PlanOptions options{.split = wire::Split::kTensor};
  options.codec = wire::Codec::kInt8;
  const auto lossy = MakePlan(CutShape(), nodes, options);
  ASSERT_FALSE(lossy);
  EXPECT_EQ(lossy.error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(lossy.error().message.contains("no int8 wire carries")) << lossy.error().message;
}

TEST(PlannerTest, AModelWithAdaptersIsSplitInsideItsLayersToo) {
  const std::vector<PlanNode> nodes = {Node(1, 4 * kGiB, 20), Node(2, 4 * kGiB, 10)};
  PlanOptions options{.split = wire::Split::kTensor};
  options.adapters.emplace_back();
  const auto adapted = MakePlan(MixtureShape(), nodes, options);
  ASSERT_TRUE(adapted);
  EXPECT_TRUE(adapted->plan.stages[0].shard);
  EXPECT_EQ(adapted->plan.stages.size(), 2u);
}

wire::RivalFate FateOf(const PlanChoice& choice, size_t nodes, wire::Split split) {
  for (const wire::PlanRival& rival : choice.rivals) {
    if (rival.nodes.size() == nodes && rival.split == split) return rival.fate;
  }
  return wire::RivalFate::kUnspecified;
}

std::vector<PlanNode> Equals(uint8_t count, double rtt_ms) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= count; ++i) {
    nodes.push_back(Node(i, 4 * kGiB, 10));
    nodes.back().rtt_ms = rtt_ms;
  }
  return nodes;
}

TEST(PlannerTest, SplitsLayersByItselfWhereLinksAreShort) {
  const PlanChoice near = Place(CutShape(), Equals(4, 0.1));
  EXPECT_EQ(near.basis, wire::PlanBasis::kFasterTensor);
  EXPECT_EQ(near.rivals[0].fate, wire::RivalFate::kChosen);
  EXPECT_EQ(near.rivals[0].split, wire::Split::kTensor);
  EXPECT_EQ(FateOf(near, 1, wire::Split::kAuto), wire::RivalFate::kSlower);
  EXPECT_EQ(FateOf(near, 2, wire::Split::kLayer), wire::RivalFate::kSlower);
  // 16 exchanges of 5 ms are more than half a model's 42.
  const PlanChoice far = Place(CutShape(), Equals(2, 10));
  EXPECT_EQ(far.basis, wire::PlanBasis::kFastest);
  EXPECT_EQ(FateOf(far, 2, wire::Split::kTensor), wire::RivalFate::kSlower);
}

TEST(PlannerTest, FurtherNodesMustGainEnough) {
  std::vector<PlanNode> nodes = Equals(4, 0.1);
  size_t splits = 0, too_little = 0;
  for (double rtt = 0.1; rtt < 10; rtt += 0.1) {
    for (PlanNode& node : nodes) node.rtt_ms = rtt;
    const PlanChoice choice = Place(CutShape(), nodes);
    double split = 0, alone = 0;
    for (const wire::PlanRival& rival : choice.rivals) {
      const bool sharded = rival.split == wire::Split::kTensor;
      double& speed = sharded ? split : alone;
      speed = std::max(speed, rival.decode_tokens_per_second);
      if (!sharded || rival.decode_tokens_per_second <= alone) continue;
      too_little += rival.fate == wire::RivalFate::kTooLittleGain;
    }
    const bool worth = split > kWorthSplitting * alone;
    EXPECT_EQ(choice.basis == wire::PlanBasis::kFasterTensor, worth) << rtt;
    splits += worth;
  }
  EXPECT_GT(splits, 0u);
  EXPECT_GT(too_little, 0u);
}

// Rows of a prompt are many bytes to seal and open, which a device that mostly stands still has
// little time for.
TEST(PlannerTest, SumsTakeAShardsProcessor) {
  std::vector<PlanNode> nodes = Equals(2, 0.02);
  const auto chunk_ms = [&](uint32_t count) {
    std::vector<PlanNode> used(nodes.begin(), nodes.begin() + count);
    const auto split = count > 1 ? wire::Split::kTensor : wire::Split::kAuto;
    return std::ranges::max(Place(CutShape(), used, {.split = split}).prediction.stage_chunk_ms);
  };
  const double whole = chunk_ms(1), half = chunk_ms(2);
  const double sums = SumsMs(CutShape(), 256);
  EXPECT_NEAR(half, whole / 2 + sums, 0.02 * whole);
  for (PlanNode& node : nodes) node.duty = 0.25;
  EXPECT_NEAR(chunk_ms(2), whole / 2 + 4 * sums, 0.02 * whole);
}

// For many answers a split has whole models on several nodes as its rival.
TEST(PlannerTest, ASplitMustGainMostOnReplicasToo) {
  size_t replicas = 0;
  for (double rtt = 0.02; rtt < 4; rtt *= 1.3) {
    const PlanChoice choice =
        Place(CutShape(), Equals(2, rtt), {.use = wire::Use::kThroughput, .users = 4});
    double split = 0, whole = 0;
    for (const wire::PlanRival& rival : choice.rivals) {
      const bool sharded = rival.split == wire::Split::kTensor;
      const bool twice = rival.split == wire::Split::kAuto && rival.nodes.size() == 2;
      if (sharded) split = rival.total_tokens_per_second;
      if (twice) whole = rival.total_tokens_per_second;
    }
    const bool worth = split > kWorthSplitting * whole;
    EXPECT_EQ(choice.basis, worth ? wire::PlanBasis::kFasterTensor : wire::PlanBasis::kReplicas)
        << rtt << ": " << split << " and " << whole;
    replicas += !worth;
  }
  EXPECT_GT(replicas, 0u);
}

TEST(PlannerTest, WhatCannotBeSplitIsNotSplitByItself) {
  EXPECT_EQ(Place(Shape(), Equals(2, 0.1)).plan.stages.size(), 1u) << "a mixture";
  std::vector<PlanNode> nodes = Equals(2, 0.1);
  nodes[1].guest = true;
  const PlanChoice choice = Place(CutShape(), nodes);
  EXPECT_EQ(choice.plan.stages.size(), 1u);
  EXPECT_EQ(choice.rivals.back().fate, wire::RivalFate::kGuest);
}

// A quota of half a core takes the pauses that a stage has anyway: two such nodes are as fast as
// one without, and three are no faster.
TEST(PlannerTest, PausesOfOneDeviceAreTheOthersWork) {
  std::vector<PlanNode> nodes = Equals(3, 0.01);
  const double whole = Place(Shape(), {nodes[0]}).prediction.decode_tokens_per_second;
  for (PlanNode& node : nodes) node.decode_gbps /= 2, node.duty = 0.5;
  const double alone = Place(Shape(), {nodes[0]}).prediction.decode_tokens_per_second;
  EXPECT_NEAR(alone, whole / 2, whole * 0.01);
  const PlanChoice two = Place(Shape(), nodes);
  EXPECT_EQ(two.plan.stages.size(), 2u);
  EXPECT_EQ(two.basis, wire::PlanBasis::kFasterLayers);
  EXPECT_GT(two.prediction.decode_tokens_per_second, 0.9 * whole);
  EXPECT_LT(two.prediction.decode_tokens_per_second, whole);
  for (PlanNode& node : nodes) node.duty = 1;  // as slow, but without pauses
  EXPECT_EQ(Place(Shape(), nodes).plan.stages.size(), 1u);
}

// One answer is fastest on one node; many want every node to have something to do. Where no node
// holds the whole model, that is layers.
TEST(PlannerTest, ManyAnswersWantLayersOverTheNodes) {
  std::vector<PlanNode> nodes = Equals(2, 0.4);
  EXPECT_EQ(Place(Shape(), nodes).plan.stages.size(), 1u);
  nodes[1].memory_available = 700 * kMiB;
  const PlanChoice many = Place(Shape(), nodes, {.use = wire::Use::kThroughput, .users = 4});
  EXPECT_EQ(many.basis, wire::PlanBasis::kFasterLayers);
  EXPECT_EQ(many.plan.stages.size(), 2u);
  EXPECT_EQ(many.prediction.users, 4u);
  EXPECT_GT(many.prediction.total_tokens_per_second, many.prediction.decode_tokens_per_second);
  EXPECT_TRUE(many.replicas.empty());
  EXPECT_EQ(FateOf(many, 2, wire::Split::kAuto), wire::RivalFate::kUnspecified);
  EXPECT_EQ(Place(Shape(), nodes, {.users = 4}).plan.stages.size(), 2u) << "by their number";
  EXPECT_EQ(Place(Shape(), nodes, {.use = wire::Use::kLatency, .users = 4}).plan.stages.size(), 1u);
  EXPECT_GE(many.plan.kv_pages, 4 * wire::PagesOf(many.plan.context));
  EXPECT_EQ(MakePlan(Shape(), nodes, {.users = wire::kMaxUsers + 1}).error().code,
            ErrorCode::kInvalid);
}

// Whole models side by side: as fast as layers over the nodes, and no network between them.
TEST(PlannerTest, ManyAnswersWantTheWholeModelOnEachNodeThatHoldsIt) {
  std::vector<PlanNode> nodes = Equals(3, 0.4);
  const PlanChoice many = Place(Shape(), nodes, {.use = wire::Use::kThroughput, .users = 6});
  EXPECT_EQ(many.basis, wire::PlanBasis::kReplicas);
  ASSERT_EQ(many.replicas.size(), 2u);
  EXPECT_EQ(UsersOf(many), 6u);
  std::set<NodeId> used;
  double total = 0;
  for (const PlanChoice& one : EachReplica(many)) {
    EXPECT_TRUE(Validate(one.plan));
    ASSERT_EQ(one.plan.stages.size(), 1u);
    used.insert(one.plan.stages[0].node);
    EXPECT_EQ(one.prediction.users, 2u);
    EXPECT_EQ(one.plan.context, many.plan.context);
    total += one.prediction.total_tokens_per_second;
  }
  EXPECT_EQ(used.size(), 3u);
  EXPECT_EQ(FateOf(many, 3, wire::Split::kAuto), wire::RivalFate::kChosen);
  EXPECT_NEAR(many.rivals[0].total_tokens_per_second, total, 1e-9);
  EXPECT_EQ(Place(Shape(), nodes, {.users = 2}).replicas.size(), 1u) << "two need no third";
  EXPECT_TRUE(Place(Shape(), nodes, {.use = wire::Use::kLatency, .users = 6}).replicas.empty());
  EXPECT_TRUE(Place(Shape(), nodes).replicas.empty());
}

// A replica has the context that all have memory for: any of them answers any request.
TEST(PlannerTest, ReplicasHaveTheContextOfTheSmallest) {
  ModelShape shape = Shape();
  shape.trained_context = 131072;
  shape.kv_bytes_per_position = {4096, 8192};
  std::vector<PlanNode> nodes = Equals(2, 0.4);
  nodes[0].memory_available = 32 * kGiB;
  const PlanChoice many = Place(shape, nodes, {.users = 4});
  ASSERT_EQ(many.replicas.size(), 1u);
  EXPECT_EQ(many.plan.context, many.replicas[0].plan.context);
  EXPECT_LT(many.plan.context, 131072u);
  EXPECT_GT(many.plan.kv_pages, many.replicas[0].plan.kv_pages);
  for (const PlanChoice& one : EachReplica(many)) {
    for (const PlanNode& node : nodes) {
      if (node.id == one.plan.stages[0].node)
        EXPECT_LE(one.plan.stages[0].bytes, node.memory_available);
    }
  }
}

TEST(PlannerTest, NodesWhoseReplicaAddsLittleOrDoesNotFitAreLeftOut) {
  std::vector<PlanNode> nodes = Equals(4, 0.4);
  nodes[2].decode_gbps = 0.2;
  nodes[2].prefill_gops = 2;
  nodes[3].memory_available = 300 * kMiB;
  const PlanChoice many = Place(Shape(), nodes, {.users = 8});
  EXPECT_EQ(many.replicas.size(), 1u);
  EXPECT_EQ(FateOf(many, 2, wire::Split::kAuto), wire::RivalFate::kChosen);
  EXPECT_NE(FateOf(many, 3, wire::Split::kAuto), wire::RivalFate::kUnspecified)
      << "told with the slow one";
  const auto small = std::ranges::find_if(many.rivals, [&](const wire::PlanRival& rival) {
    return rival.nodes == std::vector<NodeId>{nodes[3].id};
  });
  ASSERT_NE(small, many.rivals.end());
  EXPECT_EQ(small->fate, wire::RivalFate::kNoMemory);
}

// A long prompt keeps all stages at work, one answer only one at a time.
TEST(PlannerTest, PromptsWantLayersOverTheNodes) {
  std::vector<PlanNode> nodes = Equals(3, 0.4);
  for (PlanNode& node : nodes) node.links = {};
  const PlanChoice answers = Place(Shape(12), nodes);
  EXPECT_EQ(answers.plan.stages.size(), 1u);
  const PlanChoice prompts = Place(Shape(12), nodes, {.use = wire::Use::kPrompts});
  EXPECT_EQ(Layers(prompts.plan), (std::vector<uint32_t>{4, 4, 4}));
  EXPECT_EQ(prompts.basis, wire::PlanBasis::kFasterLayers);
  EXPECT_EQ(ExpectationOf(prompts).use, wire::Use::kPrompts);
  // Eight chunks: ten of 24 thirds of them one after the other.
  const Prediction alone = Predict(Shape(12), nodes, answers.plan, 1, wire::Use::kPrompts);
  EXPECT_NEAR(prompts.prediction.ttft_ms / alone.ttft_ms, 10.0 / 24, 0.05);
  EXPECT_EQ(FateOf(prompts, 1, wire::Split::kAuto), wire::RivalFate::kSlower);
  // A third node as slow as a third of the others gets a third of their layers.
  nodes[2].decode_gbps /= 3, nodes[2].prefill_gops /= 3;
  const auto layers = Layers(Place(Shape(14), nodes, {.use = wire::Use::kPrompts}).plan);
  EXPECT_EQ(std::accumulate(layers.begin(), layers.end(), 0u), 14u);
  EXPECT_EQ(std::ranges::min(layers), layers.size() == 3 ? 2u : 7u);
}

// The direct way is long, the one over the third node short.
TEST(PlannerTest, StagesGoAlongTheShortLinks) {
  std::vector<PlanNode> nodes = Equals(4, 0.4);
  for (PlanNode& node : nodes) node.memory_available = 350 * kMiB;
  const auto link = [&](size_t a, size_t b, double rtt_ms) {
    nodes[a].links.push_back({.to = nodes[b].id, .rtt_ms = rtt_ms});
  };
  for (size_t a = 0; a < 4; ++a) {
    for (size_t b = 0; b < a; ++b) link(a, b, a + b == 3 ? 60 : 1);
  }
  const PlanChoice choice = Place(Shape(), nodes);
  ASSERT_GE(choice.plan.stages.size(), 3u);
  const auto number = [&](size_t stage) {
    return choice.plan.stages[stage % choice.plan.stages.size()].node.bytes[0];
  };
  for (size_t i = 0; i < choice.plan.stages.size() && choice.plan.stages.size() == 4; ++i)
    EXPECT_NE(number(i) + number(i + 1), 5) << "a long link, of nodes 1 and 4 or 2 and 3";
}

TEST(PlannerTest, BandwidthCountsInPrompts) {
  std::vector<PlanNode> nodes = {Node(1, 600 * kMiB, 10), Node(2, 600 * kMiB, 10)};
  const double fast = Place(Shape(), nodes).prediction.prefill_tokens_per_second;
  nodes[0].links = {{.to = nodes[1].id, .rtt_ms = 0.4, .mbps = 10}};
  const PlanChoice slow = Place(Shape(), nodes);
  // 256 rows of 16 KiB in 3.4 s.
  EXPECT_LT(slow.prediction.prefill_tokens_per_second, 256 / 3.4 * 1.1);
  EXPECT_GT(fast, 1.4 * slow.prediction.prefill_tokens_per_second);
}

TEST(PlannerTest, EachDirectionOfALinkHasItsOwnBandwidth) {
  std::vector<PlanNode> nodes = {Node(1, 600 * kMiB, 10), Node(2, 600 * kMiB, 10)};
  nodes[0].links = {{.to = nodes[1].id, .rtt_ms = 0.4, .mbps = 900}};
  EXPECT_EQ(Mbps(nodes[1], nodes[0]), 900) << "nothing is known of that direction";
  nodes[1].links = {{.to = nodes[0].id, .rtt_ms = 4, .mbps = 10}};
  EXPECT_EQ(Mbps(nodes[0], nodes[1]), 900);
  EXPECT_EQ(Mbps(nodes[1], nodes[0]), 10);
  EXPECT_EQ(RttMs(nodes[0], nodes[1]), 4) << "the worse of both ends'";
  EXPECT_EQ(RttMs(nodes[1], nodes[0]), 4);
  EXPECT_NEAR(HopMs(nodes[0], nodes[1], 9e6), 2 + 80, 1e-9);
  EXPECT_NEAR(HopMs(nodes[1], nodes[0], 3e6), 2 + 2400, 1e-9);
  // Prompts go from the lead to the next stage.
  const PlanChoice choice = Place(Shape(), nodes);
  ASSERT_EQ(choice.plan.stages.size(), 2u);
  ASSERT_EQ(choice.plan.stages[0].node, nodes[0].id);
  std::swap(nodes[0].links[0].mbps, nodes[1].links[0].mbps);
  const Prediction back = Predict(Shape(), nodes, choice.plan);
  EXPECT_GT(back.ttft_ms, 1.4 * choice.prediction.ttft_ms);
  EXPECT_NEAR(back.decode_tokens_per_second, choice.prediction.decode_tokens_per_second, 1e-9)
      << "a row goes once each way";
}

// Whoever waits for the slowest of many ways waits for what one way does seldom.
TEST(PlannerTest, TheSlowestOfManyWaysIsPricedByTheTail) {
  std::vector<PlanNode> nodes = {Node(1, kGiB, 10), Node(2, kGiB, 10)};
  nodes[0].links = {{.to = nodes[1].id, .rtt_ms = 1, .rtt_p99_ms = 21}};
  const auto hop = [&](size_t ways) { return HopMs(nodes[0], nodes[1], 0, ways); };
  EXPECT_NEAR(hop(1), 0.5, 1e-9);
  EXPECT_GT(hop(2), 0.5);
  EXPECT_LT(hop(2), hop(12));
  EXPECT_NEAR(hop(99), 10.5, 1e-9);
  EXPECT_NEAR(hop(1000), 10.5, 1e-9) << "never beyond what was measured";
  // Shards of layers exchange with all others: a tail slows them down, a pipeline not.
  const auto speeds = [&](double p99, wire::Split split) {
    std::vector<PlanNode> all = Equals(4, 0.1);
    for (PlanNode& a : all) {
      for (const PlanNode& b : all) {
        if (a.id != b.id) a.links.push_back({.to = b.id, .rtt_ms = 0.1, .rtt_p99_ms = p99});
      }
    }
    return Place(CutShape(), all, {.split = split}).prediction.decode_tokens_per_second;
  };
  EXPECT_LT(speeds(5, wire::Split::kTensor), 0.7 * speeds(0.1, wire::Split::kTensor));
  EXPECT_EQ(speeds(5, wire::Split::kLayer), speeds(0.1, wire::Split::kLayer));
}

TEST(PlannerTest, SpreadsOverAnyNumberOfNodes) {
  for (const uint8_t count : {1, 2, 3, 5}) {
    std::vector<PlanNode> nodes;
    for (uint8_t i = 1; i <= count; ++i) nodes.push_back(Node(i, 4 * kGiB, i));
    EXPECT_EQ(Place(Shape(), nodes, {.split = wire::Split::kLayer}).plan.stages.size(), count);
  }
}

TEST(PlannerTest, NeverUsesMoreNodesThanLayers) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 5; ++i) nodes.push_back(Node(i, 4 * kGiB, i));
  EXPECT_EQ(Place(Shape(3), nodes, {.split = wire::Split::kLayer}).plan.stages.size(), 3u);
}

TEST(PlannerTest, SpreadLeavesOutANodeThatHoldsNoLayer) {
  const auto choice =
      Place(Shape(), {Node(1, 4 * kGiB, 5), Node(2, 50 * kMiB, 5)}, {.split = wire::Split::kLayer});
  EXPECT_EQ(choice.plan.stages.size(), 1u);
}

TEST(PlannerTest, UnknownSpeedsCountAsTheSlowestKnownOne) {
  EXPECT_EQ(
      Place(Shape(), {Node(1, 4 * kGiB, 0), Node(2, 4 * kGiB, 0)}, {.split = wire::Split::kLayer})
          .plan.stages.size(),
      2u);
  EXPECT_EQ(
      Place(Shape(), {Node(1, 4 * kGiB, 0), Node(2, 4 * kGiB, 7)}).plan.stages[0].node.bytes[0], 1);
}

TEST(PlannerTest, ReservesFewerSequencesBeforeMoreNodes) {
  ModelShape shape = Shape();
  shape.kv_bytes_per_position = {25600, 51200};  // 100 MiB per layer and sequence
  const auto choice = Place(shape, {Node(1, 1800 * kMiB, 5), Node(2, 1800 * kMiB, 5)});
  EXPECT_EQ(choice.plan.stages.size(), 1u);
  EXPECT_EQ(choice.plan.context, kDefaultContext);
  EXPECT_EQ(choice.plan.kv_pages, kDefaultContext / wire::kPagePositions);
}

ModelShape LongContext() {
  ModelShape shape = Shape();
  shape.trained_context = 131072;
  shape.kv_bytes_per_position = {4096, 8192, 2176};  // 32 KiB in all layers: 4 GiB for 131,072
  return shape;
}

TEST(PlannerTest, TheContextIsTheTrainedOneWhereMemoryAllows) {
  const auto choice = Place(LongContext(), {Node(1, 20 * kGiB, 5)});
  EXPECT_EQ(choice.plan.context, 131072u);
  EXPECT_GE(choice.plan.kv_pages, 512u);
  EXPECT_LE(choice.plan.stages[0].bytes, 11 * kGiB) << "half of what is left stays free";
}

TEST(PlannerTest, TheContextGrowsByHalfOfTheMemoryThatIsLeft) {
  const auto choice = Place(LongContext(), {Node(1, 3 * kGiB, 5)});
  EXPECT_GT(choice.plan.context, kDefaultContext);
  EXPECT_LT(choice.plan.context, 131072u);
  EXPECT_EQ(choice.plan.context, choice.plan.kv_pages * wire::kPagePositions);
}

TEST(PlannerTest, ALongerContextIsNotWorthAnotherNode) {
  const std::vector<PlanNode> nodes = {Node(1, 2 * kGiB, 5), Node(2, 2 * kGiB, 5)};
  const auto choice = Place(LongContext(), nodes);
  EXPECT_EQ(choice.plan.stages.size(), 1u);
  EXPECT_GE(choice.plan.context, kDefaultContext);
  EXPECT_EQ(Place(LongContext(), nodes, {.context = 60000}).plan.stages.size(), 2u)
      << "unless somebody asks for it";
}

TEST(PlannerTest, WhatIsAskedForIsNeitherMoreNorLess) {
  const auto choice = Place(LongContext(), {Node(1, 20 * kGiB, 5)}, {.context = 5000});
  EXPECT_EQ(choice.plan.context, 5000u);
  EXPECT_EQ(choice.plan.kv_pages, 128u) << "32 sequences of 4 pages";
  EXPECT_EQ(Place(LongContext(), {Node(1, 20 * kGiB, 5)}, {.context = 10000}).plan.kv_pages, 160u)
      << "four whole sequences of 40 pages";
  EXPECT_EQ(Place(LongContext(), {Node(1, 20 * kGiB, 5)}, {.context = 300}).plan.kv_pages, 64u);
}

TEST(PlannerTest, ARefusalSaysWhatASmallerCacheWouldAllow) {
  const auto nodes = std::vector{Node(1, 4 * kGiB, 5)};
  const auto refused = MakePlan(LongContext(), nodes, {.context = 131072});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("q8_0"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(MakePlan(LongContext(), nodes, {.context = 131072, .kv_type = 2}));
  const auto hopeless = MakePlan(LongContext(), {Node(1, kGiB, 5)}, {.context = 131072});
  ASSERT_FALSE(hopeless);
  EXPECT_EQ(hopeless.error().message.find("q8_0"), std::string::npos);
}

TEST(PlannerTest, RefusesNonsense) {
  EXPECT_EQ(MakePlan(ModelShape{}, {Node(1, kGiB, 1)}, {}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(MakePlan(Shape(), {Node(1, kGiB, 1)}, {.kv_type = 9}).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(MakePlan(Shape(), {}, {}).error().code, ErrorCode::kNotFound);
}

TEST(PlannerTest, IsQuickForManyNodes) {
  std::vector<PlanNode> nodes;
  for (uint8_t i = 1; i <= 20; ++i) nodes.push_back(Node(i, 900 * kMiB + i * kMiB, i));
  EXPECT_GT(Place(Shape(80), nodes).plan.stages.size(), 8u);
}

TEST(PlanTest, EveryFieldIsPartOfTheId) {
  const wire::Plan plan =
      Place(Shape(), {Node(1, 4 * kGiB, 1), Node(2, 4 * kGiB, 1)}, {.split = wire::Split::kLayer})
          .plan;
  const auto differs = [&](auto change) {
    wire::Plan other = plan;
    change(other);
    EXPECT_NE(ComputePlanId(other), plan.id);
    EXPECT_FALSE(Validate(other));
  };
  differs([](wire::Plan& p) { p.model.bytes[3] ^= 1; });
  differs([](wire::Plan& p) { p.model_name += "x"; });
  differs([](wire::Plan& p) { p.owner.bytes[3] ^= 1; });
  differs([](wire::Plan& p) { ++p.term; });
  differs([](wire::Plan& p) { ++p.nonce; });
  differs([](wire::Plan& p) { p.stages[1].node.bytes[5] ^= 1; });
  differs([](wire::Plan& p) { ++p.stages[0].layer_end, ++p.stages[1].layer_begin; });
  differs([](wire::Plan& p) { ++p.stages[1].bytes; });
  differs([](wire::Plan& p) { ++p.layers, ++p.stages[1].layer_end; });
  differs([](wire::Plan& p) { ++p.context; });
  differs([](wire::Plan& p) { ++p.kv_pages; });
  differs([](wire::Plan& p) { ++p.chunk; });
  differs([](wire::Plan& p) { p.kv_type = 1; });
}

TEST(PlanTest, ShardsAreTheWholeModelInOrder) {
  const wire::Plan plan = Place(CutShape(), {Node(1, 4 * kGiB, 1), Node(2, 4 * kGiB, 1)},
                                {.split = wire::Split::kTensor})
                              .plan;
  ASSERT_TRUE(HasShards(plan));
  const auto refused = [&](auto change) {
    wire::Plan other = plan;
    change(other);
    EXPECT_NE(ComputePlanId(other), plan.id);
    other.id = ComputePlanId(other);
    EXPECT_FALSE(Validate(other));
  };
  refused([](wire::Plan& p) { ++p.stages[0].shard->kv_begin; });
  refused([](wire::Plan& p) { ++p.stages[1].shard->kv_begin; });
  refused([](wire::Plan& p) { ++p.stages[0].shard->ffn_end; });
  refused([](wire::Plan& p) { p.stages[1].shard->ffn_end = p.stages[1].shard->ffn_begin; });
  refused([](wire::Plan& p) { p.stages[1].shard->kv_end = p.stages[1].shard->kv_begin; });
  refused([](wire::Plan& p) { p.stages[1].shard.reset(); });
  refused([](wire::Plan& p) { p.stages[0].shard.reset(); });
  refused([](wire::Plan& p) { ++p.stages[1].layer_begin; });
  refused([](wire::Plan& p) { --p.stages[0].layer_end; });
  refused([](wire::Plan& p) { p.stages[1].node = p.stages[0].node; });
  refused([](wire::Plan& p) { p.stages[0].shard->head_end = 4; });
}

TEST(PlanTest, ShardsOfAMixtureAndOfCutGroupsAreInOrder) {
  wire::Plan plan = Place(MixtureShape(), Equals(2, 0.4), {.split = wire::Split::kTensor}).plan;
  ASSERT_TRUE(HasShards(plan));
  // KV head 4 of 8 on both sides of a cut at query head 18 of 32.
  plan.stages[0].shard->kv_end = 5;
  plan.stages[1].shard->kv_begin = 4;
  plan.stages[0].shard->head_end = plan.stages[1].shard->head_begin = 18;
  plan.stages[1].shard->head_end = 32;
  plan.id = ComputePlanId(plan);
  EXPECT_TRUE(Validate(plan));
  const auto valid = [&](auto change) {
    wire::Plan other = plan;
    change(other.stages[0].shard.value(), other.stages[1].shard.value());
    EXPECT_NE(ComputePlanId(other), plan.id);
    other.id = ComputePlanId(other);
    return Validate(other).has_value();
  };
  using Shard = wire::ShardPlan;
  // A shard without experts is one; without columns too, where there are experts.
  EXPECT_TRUE(valid([](Shard& a, Shard& b) { a.expert_end = b.expert_begin = 64; }));
  EXPECT_TRUE(valid([](Shard& a, Shard& b) { b.kv_begin = a.kv_end; }));
  EXPECT_FALSE(valid([](Shard& a, Shard& b) { a.expert_end = b.expert_end = 0; }));
  EXPECT_FALSE(valid([](Shard& a, Shard&) { ++a.expert_end; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { b.expert_end = b.expert_begin - 1; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { --b.head_begin; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { b.kv_begin = 3; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { b.kv_begin = 6; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { b.head_end = b.head_begin; }));
  EXPECT_FALSE(valid([](Shard&, Shard& b) { b.head_begin = b.head_end = 0; }));
}

TEST(PlanTest, StagesAreLinkedWhereRowsFlow) {
  const auto links = [](const wire::Plan& plan) {
    std::vector<std::vector<size_t>> to;
    for (size_t i = 0; i < plan.stages.size(); ++i) to.push_back(ConnectsTo(plan, i));
    return to;
  };
  using To = std::vector<std::vector<size_t>>;
  wire::Plan plan;
  plan.stages.resize(1);
  EXPECT_EQ(links(plan), To{{}});
  plan.stages.resize(2);
  EXPECT_EQ(links(plan), (To{{1}, {}}));
  plan.stages.resize(3);
  for (uint8_t i = 0; i < 3; ++i) plan.stages[i].node = Node(i, 0, 0).id;
  EXPECT_EQ(links(plan), (To{{1}, {2}, {0}}));
  EXPECT_EQ(ConnectedFrom(plan, 0), std::vector<size_t>{2});
  for (wire::StagePlan& stage : plan.stages) stage.shard.emplace();
  EXPECT_EQ(links(plan), (To{{1, 2}, {2}, {}}));
  EXPECT_EQ(ConnectedFrom(plan, 2), (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(AreLinked(plan, 1, plan.stages[0].node));
  EXPECT_FALSE(AreLinked(plan, 1, plan.stages[1].node));
}

// A plan of stages with these layers; shards where neighbors have the same.
wire::Plan GroupsPlan(const std::vector<std::pair<uint32_t, uint32_t>>& layers) {
  wire::Plan plan;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto [begin, end] = layers[i];
    plan.stages.push_back(
        {.node = Node(static_cast<uint8_t>(i), 0, 0).id, .layer_begin = begin, .layer_end = end});
    if (std::ranges::count(layers, layers[i]) > 1) plan.stages.back().shard.emplace();
  }
  return plan;
}

TEST(PlanTest, RowsGoToEachShardOfTheNextGroupInOneHop) {
  using To = std::vector<std::vector<size_t>>;
  const auto flow = [](const wire::Plan& plan) {
    To to, links;
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      to.push_back(RowsTo(plan, i));
      links.push_back(ConnectsTo(plan, i));
      for (const size_t next : to.back()) EXPECT_EQ(RowsFrom(plan, next), i);
    }
    return std::pair(to, links);
  };
  // One node, then a group: the link to its first shard carries what comes back.
  const wire::Plan before = GroupsPlan({{0, 2}, {2, 5}, {2, 5}});
  EXPECT_EQ(GroupsOf(before), (std::vector<wire::StageGroup>{{0, 1}, {1, 3}}));
  EXPECT_EQ(flow(before), std::pair(To{{1, 2}, {0}, {}}, To{{1, 2}, {2}, {}}));
  const wire::Plan behind = GroupsPlan({{0, 2}, {0, 2}, {2, 5}});
  EXPECT_EQ(flow(behind), std::pair(To{{2}, {}, {0}}, To{{1, 2}, {}, {}}));
  EXPECT_EQ(RowsFrom(behind, 1), 0u) << "the lead tells the shards beside it";
  // Each of two sends to one of two, or to every second.
  const wire::Plan both = GroupsPlan({{0, 2}, {0, 2}, {2, 5}, {2, 5}});
  EXPECT_EQ(flow(both), std::pair(To{{2}, {3}, {0}, {}}, To{{1, 2}, {3}, {3}, {}}));
  const wire::Plan more = GroupsPlan({{0, 2}, {0, 2}, {2, 5}, {2, 5}, {2, 5}, {5, 6}});
  EXPECT_EQ(flow(more), std::pair(To{{2, 4}, {3}, {5}, {}, {}, {0}},
                                  To{{1, 2, 4}, {3}, {3, 4, 5}, {4}, {}, {0}}));
  EXPECT_TRUE(IsHybrid(more));
  EXPECT_FALSE(IsHybrid(GroupsPlan({{0, 2}, {0, 2}})));
  EXPECT_FALSE(IsHybrid(GroupsPlan({{0, 2}, {2, 5}})));
}

TEST(PlanTest, RefusesPlansThatCannotBe) {
  const wire::Plan plan =
      Place(Shape(), {Node(1, 4 * kGiB, 1), Node(2, 4 * kGiB, 1)}, {.split = wire::Split::kLayer})
          .plan;
  const auto refused = [&](auto change) {
    wire::Plan other = plan;
    change(other);
    other.id = ComputePlanId(other);
    EXPECT_FALSE(Validate(other));
  };
  refused([](wire::Plan& p) { p.stages.clear(); });
  refused([](wire::Plan& p) { p.stages.resize(65); });
  refused([](wire::Plan& p) { p.stages[1].node = p.stages[0].node; });
  refused([](wire::Plan& p) { ++p.stages[1].layer_begin; });
  refused([](wire::Plan& p) { p.stages[1].layer_end = p.stages[1].layer_begin; });
  refused([](wire::Plan& p) { p.stages[0].layer_end = 0xFFFFFFFF; });
  refused([](wire::Plan& p) { p.context = 0; });
  refused([](wire::Plan& p) { p.kv_pages = 0; });
  refused([](wire::Plan& p) { p.chunk = 0; });
  refused([](wire::Plan& p) { p.kv_type = wire::kKvTypes; });
}

}  // namespace
PlanNode WithDisk(PlanNode node, double gbps) {
  node.disk_gbps = gbps;
  return node;
}

std::vector<uint32_t> Streamed(const wire::Plan& plan) {
  std::vector<uint32_t> counts;
  for (const auto& stage : plan.stages) counts.push_back(stage.streamed);
  return counts;
}

TEST(StreamedPlanTest, AModelLargerThanTheMemoryReadsAsFewLayersAsPossible) {
  const ModelShape shape = Shape(8);  // 900 MiB and more
  const PlanNode node = WithDisk(Node(1, 600 * kMiB, 10), 1);
  const PlanChoice choice = Place(shape, {node});
  ASSERT_EQ(Streamed(choice.plan), std::vector<uint32_t>{6});
  StageShare share{.layer_end = 8, .lead = true, .streamed = 5};
  const KvPositions positions =
      ReservedKv(shape, wire::PagesOf(choice.plan.context), choice.plan.context, 256);
  EXPECT_GT(StageMemory(shape, share, positions, 0), node.memory_available);
  // Two windows in memory are no layers: six of 100 MiB come from the disk for each token.
  EXPECT_NEAR(choice.prediction.decode_tokens_per_second, 1e9 / (6 * 100 * kMiB), 1e-6);
  ASSERT_EQ(choice.rivals.size(), 1u);
  EXPECT_EQ(choice.rivals[0].fate, wire::RivalFate::kChosen);
}

TEST(StreamedPlanTest, ComputingHidesTheDiskAndPromptsReadOnceAChunk) {
  const ModelShape shape = Shape(8);
  // The disk is as fast as the memory: what computes takes longer than six of the eight layers.
  const PlanChoice choice = Place(shape, {WithDisk(Node(1, 600 * kMiB, 1), 1)});
  const PlanChoice held = Place(shape, {Node(1, 2000 * kMiB, 1)});
  EXPECT_NEAR(choice.prediction.decode_tokens_per_second, held.prediction.decode_tokens_per_second,
              1e-9);
  EXPECT_NEAR(choice.prediction.prefill_tokens_per_second,
              held.prediction.prefill_tokens_per_second, 1e-9);
}

TEST(StreamedPlanTest, NothingIsReadWhileAPlanInMemoryExists) {
  const ModelShape shape = Shape(8);
  const PlanNode small = WithDisk(Node(1, 600 * kMiB, 100), 50);
  EXPECT_EQ(Streamed(Place(shape, {small, Node(2, 600 * kMiB, 0.1)}).plan),
            (std::vector<uint32_t>{0, 0}));
  // Nor while one would, were the memory not taken by other models.
  PlanNode busy = small;
  busy.memory_budget = 2000 * kMiB;
  const auto refused = MakePlan(shape, {busy}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(refused.error().message.find("disk"), std::string::npos) << refused.error().message;
  // Devices that take no part are the last resort before the disk.
  PlanNode unwilling = Node(2, 2000 * kMiB, 1);
  unwilling.share = 0;
  EXPECT_EQ(wire::StreamedLayersOf(Place(shape, {small, unwilling}).plan), 0u);
}

TEST(StreamedPlanTest, ARefusalSaysWhatTheDiskCannotDoEither) {
  const auto refused = MakePlan(Shape(8), {Node(1, 600 * kMiB, 10)}, {});
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.ends_with(
      "or ask for a shorter context; no device reads layers from its disk (setting "
      "stream_models)"))
      << refused.error().message;
  const auto tiny = MakePlan(Shape(8), {WithDisk(Node(1, 250 * kMiB, 10), 1)}, {});
  ASSERT_FALSE(tiny);
  EXPECT_EQ(tiny.error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(tiny.error().message.ends_with(
      "; even with all layers read from disk one device needs 318.0 MiB"))
      << tiny.error().message;
}

TEST(StreamedPlanTest, TheNodeWithTheFasterDiskReadsMore) {
  const PlanChoice choice = Place(
      Shape(16), {WithDisk(Node(1, 700 * kMiB, 10), 0.2), WithDisk(Node(2, 700 * kMiB, 10), 2)});
  ASSERT_EQ(choice.plan.stages.size(), 2u);
  const bool first = choice.plan.stages[0].node.bytes[0] == 1;
  const auto streamed = Streamed(choice.plan);
  EXPECT_LT(streamed[first ? 0 : 1], streamed[first ? 1 : 0]);
  // One that offers no disk holds what it can.
  const PlanChoice one =
      Place(Shape(16), {Node(1, 700 * kMiB, 10), WithDisk(Node(2, 700 * kMiB, 10), 2)});
  ASSERT_EQ(one.plan.stages.size(), 2u);
  for (const auto& stage : one.plan.stages) EXPECT_EQ(stage.streamed > 0, stage.node.bytes[0] == 2);
}

// Of a mixture the experts are not held: windows keep those of two layers, and a token wants an
// eighth of the others'.
TEST(StreamedPlanTest, AMixtureReadsTheExpertsThatARowGoesTo) {
  ModelShape shape = Shape(8);
  shape.cuts = {.kv_heads = 2, .heads = 8, .vocab = 1000, .experts = 64, .experts_used = 8};
  shape.layer_parts.assign(8, {.heads = 10 * kMiB, .kv = 10 * kMiB, .experts = 80 * kMiB});
  shape.layer_decode_bytes.assign(8, 30 * kMiB);
  const PlanChoice choice = Place(shape, {WithDisk(Node(1, 600 * kMiB, 10), 1)});
  ASSERT_EQ(Streamed(choice.plan), std::vector<uint32_t>{6});
  const double read_ms = 6 * 80 * kMiB / 1e6 / 8 * (1 - 2.0 / 6);
  const double compute_ms = (8 * 30 + 50) * kMiB / 1e6 / 10;
  EXPECT_NEAR(1000 / choice.prediction.decode_tokens_per_second, read_ms + compute_ms, 0.1);
}

TEST(StreamedPlanTest, NoOtherCutOfTwoNodesIsFaster) {
  const ModelShape shape = Shape(7);
  for (const auto& [disk_a, disk_b] :
       {std::pair(0.5, 0.5), std::pair(0.3, 3.0), std::pair(2.0, 0.0)}) {
    const std::vector<PlanNode> nodes = {WithDisk(Node(1, 450 * kMiB, 10), disk_a),
                                         WithDisk(Node(2, 350 * kMiB, 5), disk_b)};
    const PlanChoice choice = Place(shape, nodes);
    double best = 0;
    for (const size_t lead : {0u, 1u}) {
      for (uint32_t cut = 1; cut < 7; ++cut) {
        for (uint32_t a = 0; a <= cut; ++a) {
          for (uint32_t b = 0; b <= 7 - cut; ++b) {
            const PlanNode &first = nodes[lead], &second = nodes[1 - lead];
            if ((a > 0 && first.disk_gbps == 0) || (b > 0 && second.disk_gbps == 0)) continue;
            wire::Plan plan = choice.plan;
            plan.stages = {{.node = first.id, .layer_end = cut, .streamed = a},
                           {.node = second.id, .layer_begin = cut, .layer_end = 7, .streamed = b}};
            const KvPositions positions = ReservedKv(shape, wire::PagesOf(4096), 4096, plan.chunk);
            if (StageMemory(shape, {0, cut, true, {}, a}, positions, 0) > first.memory_available ||
                StageMemory(shape, {cut, 7, false, {}, b}, positions, 0) > second.memory_available)
              continue;
            best = std::max(best, Predict(shape, nodes, plan).decode_tokens_per_second);
          }
        }
      }
    }
    EXPECT_GE(choice.prediction.decode_tokens_per_second, best * 0.999) << disk_a << " " << disk_b;
  }
}

}  // namespace exo::cluster
