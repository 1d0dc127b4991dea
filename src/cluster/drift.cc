#include "cluster/drift.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cluster/partition.h"
#include "cluster/replicas.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// A speed that is off by so much of what a plan was made with is another one.
constexpr double kOff = 0.25;
// A device that was held back and gives so much more of itself is worth a look.
constexpr double kGivesMore = 0.2;
// A move must make tokens come faster by so much: what has nine tenths of the best speed stays.
constexpr double kGain = 1.1;
// Where many answer at once: predictions of that are coarser.
constexpr double kGainOfMany = 1.25;
// The time saved in so many seconds of work must be as long as the load.
constexpr double kPaybackSeconds = 60;
// How fast a stage comes from a file, and from other devices, in bytes a second: what slow disks
// and home networks do.
constexpr double kLoadRate = 500e6;
constexpr double kPullRate = 50e6;

const PlanNode* Find(const std::vector<PlanNode>& nodes, const NodeId& id) {
  const auto at = std::ranges::find(nodes, id, &PlanNode::id);
  return at == nodes.end() ? nullptr : &*at;
}

bool IsOff(double now, double then) {
  if (!(now > 0)) return false;  // not measured
  return std::abs(now - then) > kOff * then;
}

// What is another about a device of the plan; empty: nothing that counts.
std::string WhatChanged(const PlanNode& then, const PlanNode& now) {
  if (then.share > 0 && !(now.share > 0)) return "takes no part any more";
  if (!(then.share > 0) && now.share > 0) return "takes part again";
  if (IsOff(now.decode_gbps, then.decode_gbps))
    return fmt::format("decodes at {:.1f} instead of {:.1f} GB/s", now.decode_gbps,
                       then.decode_gbps);
  if (IsOff(now.prefill_gops, then.prefill_gops))
    return fmt::format("computes prompts at {:.0f} instead of {:.0f} GOP/s", now.prefill_gops,
                       then.prefill_gops);
  return "";
}

// Between two tokens, whoever they are for, of so many answers at once over the plans.
double TokenMs(const ModelShape& shape, const std::vector<PlanNode>& nodes,
               const std::vector<wire::Plan>& plans, uint32_t users) {
  std::vector<AnswerRate> rates;
  for (const wire::Plan& plan : plans) {
    const Prediction all = Predict(shape, nodes, plan, std::max(users, 1u));
    rates.push_back(
        AnswerRate::Of(all.decode_tokens_per_second, all.total_tokens_per_second, all.users));
  }
  if (users <= 1) return 1000 / std::ranges::max(rates, {}, &AnswerRate::alone).alone;
  double total = 0;
  const std::vector<uint32_t> shares = ShareUsers(rates, users);
  for (size_t i = 0; i < plans.size(); ++i) {
    if (shares[i] > 0) total += Predict(shape, nodes, plans[i], shares[i]).total_tokens_per_second;
  }
  return 1000 / total;
}

// One of the plans that has a stage there, or null.
const wire::Plan* PlanAt(const std::vector<wire::Plan>& plans, const NodeId& node) {
  const auto at = std::ranges::find_if(
      plans, [&](const wire::Plan& plan) { return wire::StageOf(plan, node) >= 0; });
  return at == plans.end() ? nullptr : &*at;
}

// Whether one of the plans has this very stage.
bool IsThere(const std::vector<wire::Plan>& plans, const wire::StagePlan& stage) {
  const wire::Plan* plan = PlanAt(plans, stage.node);
  if (plan == nullptr) return false;
  const wire::StagePlan& old = plan->stages[static_cast<size_t>(wire::StageOf(*plan, stage.node))];
  return old.layer_begin == stage.layer_begin && old.layer_end == stage.layer_end &&
         old.shard == stage.shard && old.streamed == stage.streamed;
}

// The devices as they were, with their links as they are.
std::vector<PlanNode> WithLinksOf(std::vector<PlanNode> then, const std::vector<PlanNode>& now) {
  for (PlanNode& node : then) {
    const PlanNode* same = Find(now, node.id);
    if (same == nullptr) continue;
    node.links = same->links;
    if (same->rtt_ms > 0) node.rtt_ms = same->rtt_ms;
  }
  return then;
}

// From one device of a plan to another.
struct Way {
  const PlanNode& from;
  const PlanNode& to;
};

std::string WhatChanged(const Way& then, const Way& now) {
  const double rtt_then = RttMs(then.from, then.to), rtt_now = RttMs(now.from, now.to);
  if (rtt_now > (1 + kOff) * rtt_then)
    return fmt::format("its link to {} takes {:.1f} instead of {:.1f} ms there and back",
                       now.to.name, rtt_now, rtt_then);
  const double mbps_then = Mbps(then.from, then.to), mbps_now = Mbps(now.from, now.to);
  if (mbps_then > 0)
    return fmt::format("its link to {} carries {:.1f} instead of {:.1f} Mb/s", now.to.name,
                       mbps_now, mbps_then);
  return fmt::format("its link to {} carries {:.1f} Mb/s", now.to.name, mbps_now);
}

// Whether the links alone make tokens take longer by a quarter, and which of them most.
std::optional<Drift::Change> LinkChange(const ModelShape& shape, const wire::Plan& plan,
                                        const std::vector<PlanNode>& then,
                                        const std::vector<PlanNode>& now, uint32_t users) {
  const std::vector<PlanNode> linked = WithLinksOf(then, now);
  if (TokenMs(shape, linked, {plan}, users) <= (1 + kOff) * TokenMs(shape, then, {plan}, users))
    return std::nullopt;
  std::optional<Drift::Change> worst;
  double most = 0;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    for (const size_t next : wire::ConnectsTo(plan, s)) {
      const NodeId &a = plan.stages[s].node, &b = plan.stages[next].node;
      const Way before{NodeOf(then, a), NodeOf(then, b)},
          after{NodeOf(linked, a), NodeOf(linked, b)};
      const double bytes = RowBytes(shape, 1);
      const double more = HopMs(after.from, after.to, bytes) - HopMs(before.from, before.to, bytes);
      if (more <= most) continue;
      most = more;
      worst = {a, WhatChanged(before, after)};
    }
  }
  return worst;
}

// Since when a condition holds: begins, goes on, or ends.
void Watch(std::optional<Time>& since, bool holds, Time now) {
  if (!holds) since.reset();
  if (holds && !since) since = now;
}

}  // namespace

void Drift::Planned(const ModelId& model, const std::vector<PlanNode>& nodes, uint32_t users) {
  Watched watched;
  watched.nodes = nodes;
  watched.users = std::max(users, 1u);
  models_.insert_or_assign(model, std::move(watched));
}

std::optional<Drift::Change> Drift::Look(const ModelShape& shape,
                                         const std::vector<wire::Plan>& plans,
                                         const std::vector<PlanNode>& nodes) {
  const auto [at, fresh] = models_.try_emplace(shape.id);
  Watched& watched = at->second;
  if (fresh) watched.nodes = nodes;
  std::optional<Change> change;
  const bool from_disk = std::ranges::any_of(
      plans, [](const wire::Plan& plan) { return wire::StreamedLayersOf(plan) > 0; });
  for (const PlanNode& now : nodes) {
    // One answer has a device already; of many some may go to a further one. And what is read from
    // disk may find memory.
    if ((watched.users > 1 || from_disk) && now.share > 0 && Find(watched.nodes, now.id) == nullptr)
      change = {now.id, "has come"};
  }
  for (const PlanNode& then : watched.nodes) {
    const PlanNode* now = Find(nodes, then.id);
    const wire::Plan* used = PlanAt(plans, then.id);
    if (now == nullptr) {
      if (used != nullptr) return std::nullopt;  // suspected at this moment: nothing is known of it
      continue;
    }
    std::string what;
    if (used != nullptr) what = WhatChanged(then, *now);
    if (used == nullptr && now->share > then.share + kGivesMore) what = "gives more of itself";
    if (!what.empty() && !change) change = {then.id, std::move(what)};
  }
  const uint32_t each = std::max(1u, watched.users / static_cast<uint32_t>(plans.size()));
  for (const wire::Plan& plan : plans) {
    if (!change) change = LinkChange(shape, plan, watched.nodes, nodes, each);
  }
  if (!change) {
    watched.changed_since.reset();
    return std::nullopt;
  }
  if (!watched.changed_since) watched.changed_since = context_.now;
  if (context_.now - *watched.changed_since < context_.timers().drift) return std::nullopt;
  return change;
}

std::optional<uint32_t> Drift::LookAtLoad(const ModelId& model, uint32_t requests) {
  const auto at = models_.find(model);
  if (at == models_.end()) return std::nullopt;
  Watched& watched = at->second;
  const uint32_t now = std::clamp(requests, 1u, wire::kMaxUsers);
  const bool busier = now >= 2 * watched.users, calmer = 2 * now <= watched.users;
  watched.busier = watched.busier_since ? std::min(watched.busier, now) : now;
  watched.calmer = watched.calmer_since ? std::max(watched.calmer, now) : now;
  Watch(watched.busier_since, busier, context_.now);
  Watch(watched.calmer_since, calmer, context_.now);
  const Timers& timers = context_.timers();
  if (busier && context_.now - *watched.busier_since >= timers.drift) return watched.busier;
  if (calmer && context_.now - *watched.calmer_since >= timers.move_again) return watched.calmer;
  return std::nullopt;
}

uint32_t Drift::UsersOf(const ModelId& model) const {
  const auto at = models_.find(model);
  return at == models_.end() ? 1 : at->second.users;
}

bool Drift::MayMove(const ModelId& model) const {
  const auto at = moved_at_.find(model);
  return at == moved_at_.end() || context_.now - at->second >= context_.timers().move_again;
}

void Drift::Moved(const ModelId& model) {
  moved_at_[model] = context_.now;
}

void Drift::Keep(const std::function<bool(const ModelId&)>& runs) {
  std::erase_if(models_, [&](const auto& entry) { return !runs(entry.first); });
  std::erase_if(moved_at_, [&](const auto& entry) { return MayMove(entry.first); });
}

bool UsesUnwilling(const std::vector<wire::Plan>& plans, const std::vector<PlanNode>& nodes) {
  return std::ranges::any_of(nodes, [&](const PlanNode& node) {
    return !(node.share > 0) && PlanAt(plans, node.id) != nullptr;
  });
}

bool SameDivision(const wire::Plan& a, const wire::Plan& b) {
  return std::ranges::equal(
      a.stages, b.stages, [](const wire::StagePlan& one, const wire::StagePlan& other) {
        return one.node == other.node && one.layer_begin == other.layer_begin &&
               one.layer_end == other.layer_end && one.shard == other.shard &&
               one.streamed == other.streamed;
      });
}

namespace {

// Seconds until a stage has its layers of one position from the devices that computed them.
double SecondsToSend(const Succession& move, const wire::StagePlan& to) {
  double seconds = 0;
  for (const wire::StagePlan& from : move.from.stages) {
    const uint32_t begin = std::max(from.layer_begin, to.layer_begin);
    const uint32_t end = std::min(from.layer_end, to.layer_end);
    if (from.node == to.node || begin >= end) continue;
    const double bytes =
        static_cast<double>(end - begin) * move.shape.kv_bytes_per_position[move.from.kv_type];
    const PlanNode *a = Find(move.nodes, from.node), *b = Find(move.nodes, to.node);
    if (b != nullptr && b->guest) return std::numeric_limits<double>::infinity();  // not for it
    const double mbps = a == nullptr || b == nullptr ? 0 : Mbps(*a, *b);
    seconds += bytes / (mbps > 0 ? mbps * 1e6 / 8 : kPullRate);
  }
  return seconds;
}

}  // namespace

wire::FormerPlan FormerOf(const Succession& move) {
  if (HasShards(move.from) || HasShards(move.to) || move.from.kv_type != move.to.kv_type ||
      wire::LossOf(move.from).codec != wire::Codec::kF32 ||
      wire::LossOf(move.to).codec != wire::Codec::kF32)
    return {};
  double seconds = 0;  // all stages get theirs at once
  for (const wire::StagePlan& stage : move.to.stages)
    seconds = std::max(seconds, SecondsToSend(move, stage));
  const Prediction prediction = Predict(move.shape, move.nodes, move.to, 1);
  if (seconds * prediction.prefill_tokens_per_second >= 1) return {};
  wire::FormerPlan former{.plan = move.from.id, .stages = {}};
  for (const wire::StagePlan& stage : move.from.stages)
    former.stages.push_back({stage.node, stage.layer_begin, stage.layer_end});
  return former;
}

bool IsWorthIt(const Move& move, const std::function<bool(const NodeId&)>& holds) {
  const auto ms = [&](const std::vector<wire::Plan>& plans) {
    return move.use == wire::Use::kPrompts
               ? Predict(move.shape, move.nodes, plans[0], 1, move.use).ttft_ms
               : TokenMs(move.shape, move.nodes, plans, move.users);
  };
  const double before = ms(move.from), after = ms(move.to);
  const bool all_stay = std::ranges::all_of(move.from, [&](const wire::Plan& old) {
    return std::ranges::any_of(move.to,
                               [&](const wire::Plan& next) { return SameDivision(old, next); });
  });
  const double gain = move.users > 1 && !all_stay ? kGainOfMany : kGain;
  if (before < gain * after) return false;
  double load_seconds = 0;  // all devices load at once
  for (const wire::Plan& next : move.to) {
    for (const wire::StagePlan& stage : next.stages) {
      if (IsThere(move.from, stage)) continue;
      const double rate = holds(stage.node) ? kLoadRate : kPullRate;
      load_seconds = std::max(load_seconds, static_cast<double>(stage.bytes) / rate);
    }
  }
  return (1 - after / before) * kPaybackSeconds >= load_seconds;
}

}  // namespace exo::cluster
