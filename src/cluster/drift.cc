#include "cluster/drift.h"

#include <algorithm>
#include <cmath>

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

const PlanNode* NodeOf(const std::vector<PlanNode>& nodes, const NodeId& id) {
  const auto at = std::ranges::find(nodes, id, &PlanNode::id);
  return at == nodes.end() ? nullptr : &*at;
}

bool IsOff(double now, double then) {
  if (!(now > 0)) return false;  // not measured
  return std::abs(now - then) > kOff * then;
}

// What is another about a device of the plan; empty: nothing that counts.
std::string WhatChanged(const PlanNode& then, const PlanNode& now, double token_ms) {
  if (then.share > 0 && !(now.share > 0)) return "takes no part any more";
  if (!(then.share > 0) && now.share > 0) return "takes part again";
  if (IsOff(now.decode_gbps, then.decode_gbps))
    return fmt::format("decodes at {:.1f} instead of {:.1f} GB/s", now.decode_gbps,
                       then.decode_gbps);
  if (IsOff(now.prefill_gops, then.prefill_gops))
    return fmt::format("computes prompts at {:.0f} instead of {:.0f} GOP/s", now.prefill_gops,
                       then.prefill_gops);
  if (then.rtt_ms > 0 && (now.rtt_ms - then.rtt_ms) / 2 > kOff * token_ms)
    return fmt::format("answers after {:.1f} instead of {:.1f} ms", now.rtt_ms, then.rtt_ms);
  return "";
}

// Between two tokens, whoever they are for, of so many answers at once over the plans.
double TokenMs(const ModelShape& shape, const std::vector<PlanNode>& nodes,
               const std::vector<wire::Plan>& plans, uint32_t users) {
  std::vector<double> speeds;
  for (const wire::Plan& plan : plans)
    speeds.push_back(Predict(shape, nodes, plan).decode_tokens_per_second);
  if (users <= 1) return 1000 / std::ranges::max(speeds);
  double total = 0;
  const std::vector<uint32_t> shares = ShareUsers(speeds, users);
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
    if ((watched.users > 1 || from_disk) && now.share > 0 &&
        NodeOf(watched.nodes, now.id) == nullptr)
      change = {now.id, "has come"};
  }
  for (PlanNode& then : watched.nodes) {
    const PlanNode* now = NodeOf(nodes, then.id);
    const wire::Plan* used = PlanAt(plans, then.id);
    if (now == nullptr) {
      if (used != nullptr) return std::nullopt;  // suspected at this moment: nothing is known of it
      continue;
    }
    if (then.rtt_ms <= 0) then.rtt_ms = now->rtt_ms;  // measured since
    std::string what;
    if (used != nullptr) what = WhatChanged(then, *now, TokenMs(shape, watched.nodes, {*used}, 1));
    if (used == nullptr && now->share > then.share + kGivesMore) what = "gives more of itself";
    if (!what.empty() && !change) change = {then.id, std::move(what)};
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

bool IsWorthIt(const Move& move, const std::function<bool(const NodeId&)>& holds) {
  const auto ms = [&](const std::vector<wire::Plan>& plans) {
    return move.use == wire::Use::kPrompts ? Predict(move.shape, move.nodes, plans[0]).ttft_ms
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
