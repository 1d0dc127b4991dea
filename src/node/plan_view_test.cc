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
std::vector<std::string> ExplanationFor(const wire::Plan& running) {
  const wire::PlanRival alone{
      .nodes = {Numbered(2)}, .fate = wire::RivalFate::kChosen, .decode_tokens_per_second = 20};
  wire::PlanRival layers{.nodes = {Numbered(1), Numbered(2)},
                         .split = wire::Split::kLayer,
                         .fate = wire::RivalFate::kSlower,
                         .decode_tokens_per_second = 10};
  wire::PlanRival shards = layers;
  shards.split = wire::Split::kTensor;
  PlanView view{.rivals = {alone, layers, shards}};
  view.explanation = cluster::DescribeRivals(view.rivals, NameByNumber);
  MarkRunning(view, running, NameByNumber);
  return view.explanation;
}

TEST(PlanViewTest, MarksThePlacementThatRuns) {
  const auto one = ExplanationFor(PlanOver({2}));
  ASSERT_EQ(one.size(), 3u);
  EXPECT_EQ(one[0], "n2 alone: 20.0 tokens/s; chosen; running now");
  const auto two = ExplanationFor(PlanOver({1, 2}));
  ASSERT_EQ(two.size(), 3u);
  EXPECT_EQ(two[0], "n2 alone: 20.0 tokens/s; chosen");
  EXPECT_TRUE(two[1].ends_with("; running now")) << two[1];
  EXPECT_FALSE(two[2].ends_with("; running now")) << two[2];
}

TEST(PlanViewTest, ARunningPlacementThatWasNotComparedIsNamed) {
  const auto sentences = ExplanationFor(PlanOver({3, 1}));
  ASSERT_EQ(sentences.size(), 4u);
  EXPECT_EQ(sentences[3], "n3 + n1: running now");
}

}  // namespace
}  // namespace exo::node
