#include "cluster/describe.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace exo::cluster {
namespace {

std::string StateText(wire::InstanceSummary summary) {
  return DescribeState(summary, [](const NodeId&) { return std::string("desk"); });
}

// Shown in brackets behind the state's name, which is not said twice.
TEST(DescribeTest, AStateSaysOnlyWhatItsNameDoesNot) {
  EXPECT_EQ(StateText({.state = wire::InstanceState::kReserving}), "");
  EXPECT_EQ(StateText({.state = wire::InstanceState::kLoading}), "");
  EXPECT_EQ(StateText({.state = wire::InstanceState::kReady}), "");
  wire::InstanceSummary loading{.state = wire::InstanceState::kLoading, .loading_percent = 40};
  loading.loading.bytes[0] = 1;
  EXPECT_EQ(StateText(loading), "desk at 40 %");
  wire::Cause unloaded{.reason = wire::Reason::kUnloaded};
  EXPECT_EQ(StateText({.state = wire::InstanceState::kDraining, .cause = unloaded}),
            "the model was unloaded");
  wire::Cause moved{.reason = wire::Reason::kMoved, .detail = "6 answers at once instead of 1"};
  EXPECT_EQ(StateText({.state = wire::InstanceState::kDraining, .cause = moved}),
            "it moves: 6 answers at once instead of 1");
  moved.node.bytes[0] = 1;
  moved.detail = "takes no part any more";
  EXPECT_EQ(StateText({.state = wire::InstanceState::kDraining, .cause = moved}),
            "it moves because of desk: takes no part any more");
}

TEST(DescribeTest, HealthSaysWhatIsKnownAndWhatIsOffered) {
  EXPECT_EQ(DescribeHealth({}), "");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kMains, .heat = wire::Heat::kCool}),
            "plugged in; cool");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kBattery,
                            .charge = 60,
                            .heat = wire::Heat::kHot,
                            .owner = wire::Presence::kPresent,
                            .other_load = 0.25,
                            .withheld = 40,
                            .reasons = wire::kOnBattery | wire::kTooHot | wire::kOwnerWorks}),
            "on battery, 60 %; hot; in use; other programs take 25 %; offers 60 % of its speed "
            "(battery, heat, its owner works)");
  EXPECT_EQ(DescribeHealth({.power = wire::PowerSource::kBattery,
                            .charge = 20,
                            .withheld = 100,
                            .reasons = wire::kLowCharge}),
            "on battery, 20 %; offers nothing (low charge)");
  EXPECT_EQ(DescribeHealth({.withheld = 100, .reasons = wire::kOutsideHours}),
            "offers nothing (not its hours)");
  EXPECT_EQ(DescribeHealth({.withheld = 100, .reasons = 1u << 30}), "offers nothing");
}

TEST(DescribeTest, APlacementSaysWhichLayersComeFromDisk) {
  const auto name_of = [](const NodeId& id) {
    return std::string(id.IsZero() ? "desk" : "laptop");
  };
  wire::Plan plan{.stages = {{.layer_end = 32, .streamed = 12}}, .layers = 32};
  wire::Expectation expected{.basis = wire::PlanBasis::kFastest, .decode_tokens_per_second = 1.43};
  EXPECT_EQ(DescribePlacement(plan, expected, name_of),
            "larger than the memory that is offered: 12 of 32 layers are read from disk for each "
            "token, by desk: about 1.4 tokens/s");
  plan.stages = {{.layer_end = 20, .streamed = 8},
                 {.layer_begin = 20, .layer_end = 30},
                 {.layer_begin = 30, .layer_end = 32, .streamed = 1}};
  plan.stages[2].node.bytes[0] = 1;
  expected.decode_tokens_per_second = 0.0432;
  EXPECT_EQ(DescribePlacement(plan, expected, name_of),
            "larger than the memory that is offered: 9 of 32 layers are read from disk for each "
            "token, by desk 8, laptop 1: about 0.04 tokens/s");
}

TEST(DescribeTest, APlacementSaysWhatItsWireCosts) {
  wire::Plan plan{.stages = {{.layer_end = 3}, {.layer_begin = 3, .layer_end = 6}},
                  .codec = wire::Codec::kInt8};
  const wire::Expectation expected{.basis = wire::PlanBasis::kSpread};
  const auto text = [&] {
    return DescribePlacement(plan, expected, [](const NodeId&) { return std::string("desk"); });
  };
  EXPECT_TRUE(text().contains("; int8 wire: answers differ from those of one device")) << text();
  EXPECT_TRUE(text().contains("% of exo-tiny's next tokens")) << text();
  plan.codec = wire::Codec::kF32;
  EXPECT_FALSE(text().contains("wire")) << text();
  plan.codec = wire::Codec::kInt8;
  plan.stages.resize(1);
  EXPECT_FALSE(text().contains("wire")) << text();
}

NodeId Numbered(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}
std::string NameByNumber(const NodeId& id) {
  return fmt::format("n{}", id.bytes[0]);
}

wire::PlanRival Rival(std::vector<NodeId> nodes, wire::RivalFate fate, double speed) {
  return {.nodes = std::move(nodes),
          .split = wire::Split::kLayer,
          .fate = fate,
          .decode_tokens_per_second = speed,
          .total_tokens_per_second = speed};
}

// Each choice and each reason against one is a sentence.
TEST(DescribeTest, EveryRivalHasItsSentence) {
  const NodeId one = Numbered(1), two = Numbered(2);
  std::vector<wire::PlanRival> rivals = {Rival({one}, wire::RivalFate::kChosen, 20),
                                         Rival({one, two}, wire::RivalFate::kSlower, 15),
                                         Rival({one, two}, wire::RivalFate::kTooLittleGain, 21)};
  rivals.push_back(rivals[2]);
  rivals[2].split = wire::Split::kTensor;
  wire::PlanRival full{.nodes = {two}, .fate = wire::RivalFate::kNoMemory, .short_of = two};
  full.needed = 2 * kGiB;
  full.available = kGiB;
  rivals.push_back(full);
  rivals.push_back({.nodes = {one, two},
                    .split = wire::Split::kTensor,
                    .fate = wire::RivalFate::kNoMemory,
                    .short_of = two,
                    .available = kGiB});
  rivals.push_back({.nodes = {two}, .fate = wire::RivalFate::kGuest, .short_of = two});
  rivals.push_back(
      {.nodes = {one, two}, .split = wire::Split::kTensor, .fate = wire::RivalFate::kTooFewParts});
  rivals.push_back({.nodes = {one, two},
                    .fate = wire::RivalFate::kTooLittleGain,
                    .decode_tokens_per_second = 20,
                    .total_tokens_per_second = 20.4});
  rivals.push_back({.nodes = {one}, .decode_tokens_per_second = 3});
  rivals.push_back(Rival({one, two, Numbered(3)}, wire::RivalFate::kTooLittleGain, 22));
  rivals.back().split = wire::Split::kHybrid;
  rivals.back().groups = {1, 2};
  EXPECT_EQ(DescribeRivals(rivals, NameByNumber),
            (std::vector<std::string>{
                "n1 alone: 20.0 tokens/s; chosen",
                "n1 + n2, layers: 15.0 tokens/s; 75 % of the chosen one's speed",
                "n1 + n2, each layer split: 21.0 tokens/s; 5 % more is not believed: such "
                "predictions were off by a quarter; ask for it by --split tensor",
                "n1 + n2, layers: 21.0 tokens/s; 5 % more is too little for further devices: "
                "predictions are off by about as much",
                "n2 alone: needs 2.0 GiB, 1.0 GiB is available",
                "n1 + n2, each layer split: n2 has too little memory for its part (1.0 GiB "
                "available)",
                "n2 alone: a guest would see the text",
                "n1 + n2, each layer split: the layers have fewer parts than there are devices",
                "n1 + n2, the whole model on each: 20.4 tokens/s in all, 20.0 for one alone; 2 % "
                "more is too little for further devices: predictions are off by about as much",
                "n1 alone: 3.0 tokens/s",
                "n1, n2 + n3, layers over groups: 22.0 tokens/s; 10 % more is not believed: such "
                "predictions were off by a quarter; ask for it by --split hybrid"}));
}

TEST(DescribeTest, APlanForPromptsTellsOfTheFirstToken) {
  const wire::PlanRival chosen{.nodes = {Numbered(1), Numbered(2)},
                               .split = wire::Split::kLayer,
                               .fate = wire::RivalFate::kChosen,
                               .decode_tokens_per_second = 9,
                               .ttft_ms = 1000,
                               .use = wire::Use::kPrompts};
  wire::PlanRival alone = chosen;
  alone.nodes.pop_back();
  alone.split = {}, alone.fate = wire::RivalFate::kSlower, alone.ttft_ms = 1600;
  EXPECT_EQ(
      DescribeRivals({chosen, alone}, NameByNumber),
      (std::vector<std::string>{
          "n1 + n2, layers: the first token behind 2048 after 1.00 s, then 9.0 tokens/s; chosen",
          "n1 alone: the first token behind 2048 after 1.60 s, then 9.0 tokens/s; 62 % of the "
          "chosen one's speed"}));
}

TEST(DescribeTest, EveryBasisHasItsSentence) {
  wire::Plan plan;
  plan.stages = {{.node = Numbered(1), .layer_end = 6},
                 {.node = Numbered(2), .layer_begin = 6, .layer_end = 8}};
  const auto text = [&](wire::PlanBasis basis, uint32_t users = 1) {
    return DescribePlacement(plan,
                             {.basis = basis,
                              .decode_tokens_per_second = 12,
                              .users = users,
                              .total_tokens_per_second = 30},
                             NameByNumber);
  };
  EXPECT_EQ(text(wire::PlanBasis::kUnknown), "");
  EXPECT_EQ(text(wire::PlanBasis::kFewest),
            "no node holds the model alone; n1 + n2 together are predicted fastest (layers: n1 6, "
            "n2 2): 12.0 tokens/s");
  EXPECT_EQ(text(wire::PlanBasis::kSpread),
            "spread over the nodes, as asked: n1 + n2 (layers in proportion to speed: n1 6, n2 2): "
            "12.0 tokens/s");
  EXPECT_EQ(text(wire::PlanBasis::kFasterLayers, 4),
            "layers over the nodes are predicted fastest: n1 + n2 (layers: n1 6, n2 2): 30.0 "
            "tokens/s for 4 answers at once");
  for (wire::StagePlan& stage : plan.stages) {
    stage.layer_begin = 0, stage.layer_end = 8;
    stage.shard = {0, 4, 0, 512};
  }
  EXPECT_EQ(text(wire::PlanBasis::kTensor),
            "each layer split over the nodes, as asked: n1 + n2 (KV heads in proportion to speed: "
            "n1 4, n2 4): 12.0 tokens/s");
  EXPECT_EQ(text(wire::PlanBasis::kFasterTensor),
            "each layer split over the nodes is predicted fastest: n1 + n2 (KV heads in proportion "
            "to speed: n1 4, n2 4): 12.0 tokens/s");
  for (wire::StagePlan& stage : plan.stages) stage.shard->head_end = stage.shard->head_begin + 3;
  EXPECT_EQ(text(wire::PlanBasis::kTensor),
            "each layer split over the nodes, as asked: n1 + n2 (query heads in proportion to "
            "speed: n1 3, n2 3): 12.0 tokens/s");
  plan.stages[0].shard->expert_end = plan.stages[1].shard->expert_begin = 5;
  plan.stages[1].shard->expert_end = 8;
  EXPECT_EQ(text(wire::PlanBasis::kTensor),
            "each layer split over the nodes, as asked: n1 + n2 (experts in proportion to speed: "
            "n1 5, n2 3): 12.0 tokens/s");
  for (wire::StagePlan& stage : plan.stages) stage.layer_begin = 2;
  plan.stages.insert(plan.stages.begin(), {.node = Numbered(3), .layer_end = 2});
  EXPECT_EQ(text(wire::PlanBasis::kHybrid),
            "layers over groups of nodes, as asked: n3, n1 + n2 (layers: n3 2, n1 + n2 6): 12.0 "
            "tokens/s");
  EXPECT_EQ(text(wire::PlanBasis::kFasterHybrid),
            "layers over groups of nodes are predicted fastest: n3, n1 + n2 (layers: n3 2, n1 + n2 "
            "6): 12.0 tokens/s");
  plan.stages = {{.node = Numbered(1), .layer_end = 8}};
  EXPECT_EQ(text(wire::PlanBasis::kFastest),
            "n1 holds the whole model and is predicted fastest: 12.0 tokens/s");
  EXPECT_EQ(text(wire::PlanBasis::kReplicas, 4),
            "n1 is one of several devices with the whole model: 30.0 tokens/s for 4 answers at "
            "once");
}

TEST(DescribeTest, ReplicasAreOneSentenceWithWhatTheyGiveTogether) {
  wire::PlannedReplica first{.plan = {.stages = {{.node = Numbered(1), .layer_end = 8}}},
                             .expected = {.basis = wire::PlanBasis::kReplicas,
                                          .decode_tokens_per_second = 12,
                                          .users = 4,
                                          .total_tokens_per_second = 30}};
  wire::PlannedReplica second = first;
  second.plan.stages[0].node = Numbered(2);
  second.expected.users = 2;
  second.expected.total_tokens_per_second = 14;
  EXPECT_EQ(DescribeReplicas({first, second}, NameByNumber),
            "the whole model on each of 2 devices is predicted fastest (answers: n1 4, n2 2): 44.0 "
            "tokens/s for 6 answers at once");
  EXPECT_EQ(DescribeReplicas({first}, NameByNumber),
            DescribePlacement(first.plan, first.expected, NameByNumber));
}

}  // namespace
}  // namespace exo::cluster
