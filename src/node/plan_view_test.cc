#include "node/plan_view.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

NodeId Numbered(uint8_t number) {
  return NodeId{{number}};
}
std::string NameByNumber(const NodeId& node) {
  return "n" + std::to_string(node.bytes[0]);
}
wire::Plan PlanOver(std::initializer_list<uint8_t> numbers) {
  wire::Plan plan{.model_name = "tiny", .stages = {}, .layers = 8};
  for (const uint8_t number : numbers) plan.stages.push_back({.node = Numbered(number)});
  return plan;
}

// Of what was compared, the sentences in which a running plan is marked.
std::vector<std::string> ExplanationFor(const std::vector<wire::Plan>& running) {
  const wire::PlanRival alone{
      .nodes = {Numbered(2)}, .fate = wire::RivalFate::kChosen, .decode_tokens_per_second = 20};
  wire::PlanRival layers{.nodes = {Numbered(1), Numbered(2)},
                         .split = wire::Split::kLayer,
                         .fate = wire::RivalFate::kSlower,
                         .decode_tokens_per_second = 10};
  wire::PlanRival shards = layers;
  shards.split = wire::Split::kTensor;
  wire::PlanRival replicas = layers;
  replicas.split = wire::Split::kAuto;
  PlanView view{.rivals = {alone, layers, shards, replicas}};
  view.explanation = cluster::DescribeRivals(view.rivals, NameByNumber);
  MarkRunning(view, running, NameByNumber);
  return view.explanation;
}

TEST(PlanViewTest, MarksThePlacementThatRuns) {
  const auto one = ExplanationFor({PlanOver({2})});
  ASSERT_EQ(one.size(), 4u);
  EXPECT_EQ(one[0], "n2 alone: 20.0 tokens/s; chosen; running now");
  const auto two = ExplanationFor({PlanOver({1, 2})});
  ASSERT_EQ(two.size(), 4u);
  EXPECT_EQ(two[0], "n2 alone: 20.0 tokens/s; chosen");
  EXPECT_TRUE(two[1].ends_with("; running now")) << two[1];
  EXPECT_FALSE(two[2].ends_with("; running now")) << two[2];
  EXPECT_FALSE(two[3].ends_with("; running now")) << two[3];
  const auto each = ExplanationFor({PlanOver({2}), PlanOver({1})});
  ASSERT_EQ(each.size(), 4u);
  EXPECT_TRUE(each[3].ends_with("; running now")) << each[3];
  EXPECT_FALSE(each[1].ends_with("; running now")) << each[1];
}

TEST(PlanViewTest, ReplicasAreToldTogether) {
  const wire::Expectation expected{.basis = wire::PlanBasis::kReplicas,
                                   .decode_tokens_per_second = 10,
                                   .users = 2,
                                   .total_tokens_per_second = 15};
  const PlanView view =
      MakePlanView({{PlanOver({1}), expected}, {PlanOver({2}), expected}}, {}, {}, NameByNumber);
  EXPECT_EQ(view.expected.users, 4u);
  EXPECT_EQ(view.expected.total_tokens_per_second, 30);
  EXPECT_EQ(view.expected.decode_tokens_per_second, 10);
  ASSERT_EQ(view.replicas.size(), 1u);
  EXPECT_EQ(view.replicas[0].node_names, std::vector<std::string>{"n2"});
  EXPECT_EQ(view.reason,
            "the whole model on each of 2 devices is predicted fastest (answers: n1 2, n2 2): 30.0 "
            "tokens/s for 4 answers at once");
}

TEST(PlanViewTest, ARunningPlacementThatWasNotComparedIsNamed) {
  const auto sentences = ExplanationFor({PlanOver({3, 1})});
  ASSERT_EQ(sentences.size(), 5u);
  EXPECT_EQ(sentences[4], "n3 + n1: running now");
}

}  // namespace
}  // namespace exo::node
