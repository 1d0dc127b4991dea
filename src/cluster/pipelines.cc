#include "cluster/pipelines.h"

#include <algorithm>
#include <bit>
#include <tuple>

#include "wire/messages.h"

namespace exo::cluster {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr uint32_t kNowhere = UINT32_MAX;

// Times by where the layers so far end, and where the last stage of each begins.
struct Reached {
  std::vector<double> ms;
  std::vector<uint32_t> begin;
  explicit Reached(size_t layers) : ms(layers + 1, kNever), begin(layers + 1, kNowhere) {}
};

bool StageFits(const PipelineProblem& problem, size_t index, bool lead, size_t begin, size_t end) {
  const PipelineNode& node = problem.nodes[index];
  const uint64_t bytes = node.stage_bytes + (lead ? node.lead_bytes : 0) +
                         problem.layer_bytes[end] - problem.layer_bytes[begin];
  const double ms =
      node.visit_ms + (lead ? node.lead_ms : 0) + node.layer_ms[end] - node.layer_ms[begin];
  return bytes <= node.memory && ms <= problem.longest_stage_ms * node.duty;
}

Reached AtLead(const PipelineProblem& problem, size_t lead) {
  const PipelineNode& node = problem.nodes[lead];
  Reached reached(problem.layers());
  for (size_t end = 1; end <= problem.layers(); ++end) {
    if (!StageFits(problem, lead, true, 0, end)) break;
    reached.ms[end] = node.visit_ms + node.lead_ms + node.layer_ms[end];
    reached.begin[end] = 0;
  }
  return reached;
}

// One more stage behind what ends at `arrival[begin]` milliseconds. Those that may begin a stage
// that ends at `end` are a window that moves on with it; its least element is at its front.
void Extend(const PipelineProblem& problem, size_t node, const std::vector<double>& arrival,
            Reached& reached) {
  const std::vector<double>& layer_ms = problem.nodes[node].layer_ms;
  const auto key = [&](size_t begin) { return arrival[begin] - layer_ms[begin]; };
  std::vector<uint32_t> window(problem.layers());
  size_t front = 0, back = 0;
  for (size_t end = 2; end <= problem.layers(); ++end) {
    const size_t begin = end - 1;
    if (arrival[begin] != kNever) {
      while (front < back && key(window[back - 1]) >= key(begin)) --back;
      window[back++] = static_cast<uint32_t>(begin);
    }
    while (front < back && !StageFits(problem, node, false, window[front], end)) ++front;
    if (front == back) continue;
    const double ms = key(window[front]) + layer_ms[end] + problem.nodes[node].visit_ms;
    if (ms >= reached.ms[end]) continue;
    reached.ms[end] = ms;
    reached.begin[end] = window[front];
  }
}

void Keep(Pipeline pipeline, std::vector<Pipeline>& best) {
  Pipeline& known = best[pipeline.nodes.size() - 1];
  if (pipeline.token_ms < known.token_ms) known = std::move(pipeline);
}

// Every subset of the other nodes behind one lead, by its last stage.
class Subsets {
 public:
  Subsets(const PipelineProblem& problem, size_t lead)
      : problem_(problem), lead_(lead), at_lead_(AtLead(problem, lead)) {
    for (size_t i = 0; i < problem.nodes.size(); ++i) {
      if (i != lead) others_.push_back(i);
    }
  }

  void Search(std::vector<Pipeline>& best) {
    const uint32_t sets = 1u << others_.size();
    reached_.assign(sets, {});
    for (uint32_t set = 1; set < sets; ++set) {
      if (static_cast<size_t>(std::popcount(set)) >= best.size()) continue;
      reached_[set].assign(others_.size(), Reached(problem_.layers()));
      for (size_t last = 0; last < others_.size(); ++last) {
        if ((set >> last & 1) == 0) continue;
        Extend(problem_, others_[last], Arrival(set ^ (1u << last), last), reached_[set][last]);
        if (!problem_.nodes[others_[last]].inner_only) Finish(set, last, best);
      }
    }
  }

 private:
  const Reached& Behind(uint32_t set, size_t last) const {
    return set == 0 ? at_lead_ : reached_[set][last];
  }
  // The last stages that `set` may have; of none it is the lead's.
  std::vector<size_t> LastOnes(uint32_t set) const {
    std::vector<size_t> lasts;
    for (size_t i = 0; i < others_.size(); ++i) {
      if (set == 0 ? i == 0 : (set >> i & 1) != 0) lasts.push_back(i);
    }
    return lasts;
  }
  double Hop(uint32_t set, size_t last, size_t to) const {
    return problem_.hop_ms[set == 0 ? lead_ : others_[last]][others_[to]];
  }
  std::vector<double> Arrival(uint32_t set, size_t to) const {
    std::vector<double> arrival(problem_.layers() + 1, kNever);
    for (const size_t last : LastOnes(set)) {
      const double hop = Hop(set, last, to);
      const std::vector<double>& ms = Behind(set, last).ms;
      for (size_t i = 0; i < arrival.size(); ++i) arrival[i] = std::min(arrival[i], ms[i] + hop);
    }
    return arrival;
  }
  void Finish(uint32_t set, size_t last, std::vector<Pipeline>& best) const {
    const double ms = Behind(set, last).ms.back() + problem_.hop_ms[others_[last]][lead_];
    if (ms >= best[static_cast<size_t>(std::popcount(set))].token_ms) return;
    Pipeline pipeline{.token_ms = ms};
    uint32_t end = static_cast<uint32_t>(problem_.layers());
    while (set != 0) {
      pipeline.nodes.push_back(others_[last]);
      pipeline.ends.push_back(end);
      end = Behind(set, last).begin[end];
      set ^= 1u << last;
      const size_t to = last;
      const std::vector<size_t> lasts = LastOnes(set);
      last = *std::ranges::min_element(
          lasts, {}, [&](size_t i) { return Behind(set, i).ms[end] + Hop(set, i, to); });
    }
    pipeline.nodes.push_back(lead_);
    pipeline.ends.push_back(end);
    std::ranges::reverse(pipeline.nodes);
    std::ranges::reverse(pipeline.ends);
    Keep(std::move(pipeline), best);
  }

  const PipelineProblem& problem_;
  const size_t lead_;
  const Reached at_lead_;
  std::vector<size_t> others_;
  std::vector<std::vector<Reached>> reached_;  // by set and last stage
};

// The nodes in one order, each taken or left out.
class InOrder {
 public:
  InOrder(const PipelineProblem& problem, size_t lead, size_t most_stages)
      : problem_(problem), lead_(lead), ways_(most_stages, Ways(problem.layers())) {
    const Reached at_lead = AtLead(problem, lead);
    for (uint32_t end = 1; end <= problem.layers(); ++end) {
      if (at_lead.ms[end] != kNever) Take(0, end, at_lead.ms[end], lead, kNowhere);
    }
  }

  // `node` as the last stage of every way that there is so far, where that is faster.
  void Offer(size_t node, std::vector<Pipeline>& best) {
    for (size_t stages = ways_.size() - 1; stages > 0; --stages) {
      const Ways& before = ways_[stages - 1];
      std::vector<double> arrival = before.ms;
      for (size_t end = 0; end < arrival.size(); ++end) {
        if (arrival[end] != kNever)
          arrival[end] += problem_.hop_ms[steps_[before.last[end]].node][node];
      }
      Reached reached(problem_.layers());
      Extend(problem_, node, arrival, reached);
      Finish(stages, node, reached, best);
      for (uint32_t end = 1; end <= problem_.layers(); ++end) {
        if (reached.ms[end] < ways_[stages].ms[end])
          Take(stages, end, reached.ms[end], node, before.last[reached.begin[end]]);
      }
    }
  }

 private:
  struct Step {
    size_t node = 0;
    uint32_t end = 0;
    uint32_t before = kNowhere;  // index into steps_
  };
  // Those of one number of stages, by where their layers end.
  struct Ways {
    std::vector<double> ms;
    std::vector<uint32_t> last;  // index into steps_
    explicit Ways(size_t layers) : ms(layers + 1, kNever), last(layers + 1, kNowhere) {}
  };

  void Take(size_t stages, uint32_t end, double ms, size_t node, uint32_t before) {
    ways_[stages].ms[end] = ms;
    ways_[stages].last[end] = static_cast<uint32_t>(steps_.size());
    steps_.push_back({node, end, before});
  }
  void Finish(size_t stages, size_t node, const Reached& reached, std::vector<Pipeline>& best) {
    const auto layers = static_cast<uint32_t>(problem_.layers());
    if (problem_.nodes[node].inner_only || reached.ms[layers] == kNever) return;
    Pipeline pipeline{.nodes = {node},
                      .ends = {layers},
                      .token_ms = reached.ms[layers] + problem_.hop_ms[node][lead_]};
    uint32_t at = ways_[stages - 1].last[reached.begin[layers]];
    for (; at != kNowhere; at = steps_[at].before) {
      pipeline.nodes.push_back(steps_[at].node);
      pipeline.ends.push_back(steps_[at].end);
    }
    std::ranges::reverse(pipeline.nodes);
    std::ranges::reverse(pipeline.ends);
    Keep(std::move(pipeline), best);
  }

  const PipelineProblem& problem_;
  const size_t lead_;
  std::vector<Ways> ways_;
  std::vector<Step> steps_;
};

// Guests first, which may not be last, then the fastest.
std::vector<size_t> OrderOf(const PipelineProblem& problem) {
  std::vector<size_t> order(problem.nodes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](size_t i) {
    return std::tuple(!problem.nodes[i].inner_only, problem.nodes[i].layer_ms.back(), i);
  });
  return order;
}

}  // namespace

std::vector<Pipeline> FastestPipelines(const PipelineProblem& problem) {
  const size_t count = problem.nodes.size();
  const size_t layers = problem.layers();
  std::vector<Pipeline> best(std::min<size_t>({count, layers, wire::kMaxStages}));
  const std::vector<size_t> order = OrderOf(problem);
  for (size_t lead = 0; lead < count; ++lead) {
    if (problem.nodes[lead].inner_only) continue;
    const double alone = AtLead(problem, lead).ms.back();
    if (alone < best[0].token_ms) best[0] = {{lead}, {static_cast<uint32_t>(layers)}, alone};
    if (count <= kExactNodes) {
      Subsets(problem, lead).Search(best);
      continue;
    }
    InOrder in_order(problem, lead, best.size());
    for (const size_t node : order) {
      if (node != lead) in_order.Offer(node, best);
    }
  }
  return best;
}

}  // namespace exo::cluster
