#include "cluster/pipelines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"

namespace exo::cluster {
namespace {

// Nodes of any speed and memory, layers of any size, links of any length, a guest now and then.
PipelineProblem Draw(Rng& rng, size_t nodes, size_t layers) {
  PipelineProblem problem{.layer_bytes = {0}};
  for (size_t i = 0; i < layers; ++i)
    problem.layer_bytes.push_back(problem.layer_bytes.back() + 5 + rng.Below(10));
  for (size_t n = 0; n < nodes; ++n) {
    PipelineNode node{.layer_ms = {0},
                      .visit_ms = 0.1,
                      .lead_ms = rng.Uniform() * 3,
                      .duty = 0.3 + 0.7 * rng.Uniform(),
                      .memory = 20 + rng.Below(12 * layers),
                      .stage_bytes = 2,
                      .lead_bytes = 5,
                      .inner_only = rng.Below(6) == 0};
    const double speed = 0.2 + rng.Uniform() * 3;
    for (size_t i = 0; i < layers; ++i) {
      const auto bytes = static_cast<double>(problem.layer_bytes[i + 1] - problem.layer_bytes[i]);
      node.layer_ms.push_back(node.layer_ms.back() + bytes * speed);
    }
    problem.nodes.push_back(std::move(node));
  }
  problem.hop_ms.assign(nodes, std::vector<double>(nodes));
  for (size_t a = 0; a < nodes; ++a) {
    for (size_t b = 0; b < a; ++b)
      problem.hop_ms[a][b] = problem.hop_ms[b][a] = 0.1 + rng.Uniform() * 20;
  }
  return problem;
}

double TokenMs(const PipelineProblem& problem, const Pipeline& pipeline) {
  double ms = 0;
  for (size_t s = 0; s < pipeline.nodes.size(); ++s) {
    const PipelineNode& node = problem.nodes[pipeline.nodes[s]];
    const size_t begin = s == 0 ? 0 : pipeline.ends[s - 1], end = pipeline.ends[s];
    const uint64_t bytes = node.stage_bytes + (s == 0 ? node.lead_bytes : 0) +
                           problem.layer_bytes[end] - problem.layer_bytes[begin];
    const double stage =
        node.visit_ms + (s == 0 ? node.lead_ms : 0) + node.layer_ms[end] - node.layer_ms[begin];
    const bool outside = s == 0 || s + 1 == pipeline.nodes.size();
    if (end <= begin || bytes > node.memory || stage > problem.longest_stage_ms * node.duty ||
        (outside && node.inner_only))
      return std::numeric_limits<double>::infinity();
    ms += stage;
    if (pipeline.nodes.size() > 1)
      ms += problem.hop_ms[pipeline.nodes[s]][pipeline.nodes[(s + 1) % pipeline.nodes.size()]];
  }
  return ms;
}

// Every way to cut `layers` between the stages of an order of nodes, from stage `s` on.
void TryCuts(const PipelineProblem& problem, Pipeline& pipeline, size_t s, double& best) {
  if (s + 1 == pipeline.nodes.size()) {
    pipeline.ends[s] = static_cast<uint32_t>(problem.layers());
    best = std::min(best, TokenMs(problem, pipeline));
    return;
  }
  for (uint32_t end = s == 0 ? 1 : pipeline.ends[s - 1] + 1; end < problem.layers(); ++end) {
    pipeline.ends[s] = end;
    TryCuts(problem, pipeline, s + 1, best);
  }
}

// The best of all orders of all subsets, by the number of stages less one.
std::vector<double> BruteForce(const PipelineProblem& problem) {
  const size_t count = problem.nodes.size();
  std::vector<double> best(std::min(count, problem.layers()),
                           std::numeric_limits<double>::infinity());
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  do {
    for (size_t stages = 1; stages <= best.size(); ++stages) {
      // Of orders that begin alike only the first one is new.
      if (!std::is_sorted(order.begin() + static_cast<ptrdiff_t>(stages), order.end())) continue;
      Pipeline pipeline{.nodes = {order.begin(), order.begin() + static_cast<ptrdiff_t>(stages)},
                        .ends = std::vector<uint32_t>(stages)};
      TryCuts(problem, pipeline, 0, best[stages - 1]);
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

TEST(PipelinesTest, AreTheBestOfAllOrdersAndAllCuts) {
  Rng rng(1);
  size_t possible = 0;
  for (int trial = 0; trial < 120; ++trial) {
    PipelineProblem problem = Draw(rng, 2 + rng.Below(4), 2 + rng.Below(6));
    if (rng.Below(2) == 0) problem.longest_stage_ms = 20 + rng.Uniform() * 60;
    const std::vector<double> wanted = BruteForce(problem);
    const std::vector<Pipeline> found = FastestPipelines(problem);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (std::isinf(wanted[i])) {
        EXPECT_TRUE(found[i].nodes.empty()) << "trial " << trial;
        continue;
      }
      ++possible;
      ASSERT_EQ(found[i].nodes.size(), i + 1) << "trial " << trial;
      EXPECT_NEAR(found[i].token_ms, wanted[i], 1e-9 * wanted[i]) << "trial " << trial;
      EXPECT_NEAR(TokenMs(problem, found[i]), wanted[i], 1e-9 * wanted[i]) << "trial " << trial;
    }
  }
  EXPECT_GT(possible, 100u);
}

// No way is faster than with all links as short as the shortest and a part of a layer anywhere: the
// layers on the fastest nodes, as far as their memory goes.
double LowerBound(const PipelineProblem& problem) {
  struct Offer {
    double ms_per_byte, bytes;
  };
  std::vector<Offer> offers;
  double lead_ms = std::numeric_limits<double>::infinity();
  for (const PipelineNode& node : problem.nodes) {
    offers.push_back({node.layer_ms.back() / static_cast<double>(problem.layer_bytes.back()),
                      static_cast<double>(node.memory - node.stage_bytes)});
    lead_ms = std::min(lead_ms, node.lead_ms);
  }
  std::ranges::sort(offers, {}, &Offer::ms_per_byte);
  double left = static_cast<double>(problem.layer_bytes.back()), ms = lead_ms;
  for (const Offer& offer : offers) {
    const double taken = std::min(left, offer.bytes);
    ms += taken * offer.ms_per_byte;
    left -= taken;
  }
  return ms;
}

TEST(PipelinesTest, OfManyNodesAreNearTheBestThatThereCanBe) {
  Rng rng(2);
  double worst = 0;
  for (int trial = 0; trial < 3; ++trial) {
    PipelineProblem problem = Draw(rng, 32, 24);
    for (PipelineNode& node : problem.nodes) node.memory = 40 + rng.Below(60);
    for (std::vector<double>& hops : problem.hop_ms) std::ranges::fill(hops, 0.2);
    double fastest = std::numeric_limits<double>::infinity();
    for (const Pipeline& pipeline : FastestPipelines(problem)) {
      if (pipeline.nodes.empty()) continue;
      EXPECT_NEAR(TokenMs(problem, pipeline), pipeline.token_ms, 1e-9 * pipeline.token_ms);
      fastest = std::min(fastest, pipeline.token_ms);
    }
    worst = std::max(worst, fastest / LowerBound(problem));
  }
  EXPECT_LT(worst, 1.15);
}

// With layers and links alike one order of the nodes is as good as all: nothing is lost with the
// ninth node.
TEST(PipelinesTest, NodesThatCannotHelpChangeNothing) {
  Rng rng(3);
  for (int trial = 0; trial < 10; ++trial) {
    PipelineProblem problem = Draw(rng, 6, 10);
    for (PipelineNode& node : problem.nodes) {
      node.inner_only = false;
      const double layer_ms = node.layer_ms[1];
      for (size_t i = 0; i <= 10; ++i) node.layer_ms[i] = layer_ms * static_cast<double>(i);
    }
    for (size_t i = 0; i <= 10; ++i) problem.layer_bytes[i] = 9 * i;
    for (std::vector<double>& hops : problem.hop_ms) std::ranges::fill(hops, 1);
    const std::vector<Pipeline> few = FastestPipelines(problem);
    for (int i = 0; i < 4; ++i) {
      PipelineNode slow = problem.nodes[0];
      slow.memory = 3;  // not a single layer
      problem.nodes.push_back(slow);
      for (std::vector<double>& hops : problem.hop_ms) hops.push_back(1);
      problem.hop_ms.emplace_back(problem.nodes.size(), 1.0);
    }
    for (std::vector<double>& hops : problem.hop_ms) hops.resize(problem.nodes.size(), 1);
    const std::vector<Pipeline> many = FastestPipelines(problem);
    for (size_t i = 0; i < few.size(); ++i) {
      if (few[i].nodes.empty()) continue;
      EXPECT_NEAR(many[i].token_ms, few[i].token_ms, 1e-9 * few[i].token_ms) << "trial " << trial;
    }
  }
}

}  // namespace
}  // namespace exo::cluster
