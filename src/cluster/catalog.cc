#include "cluster/catalog.h"

#include <algorithm>

#include "base/check.h"
#include "wire/plan.h"

namespace exo::cluster {

using wire::Reason;

bool Preferred(const wire::InstanceSummary& a, const wire::InstanceSummary& b) {
  const bool ready_a = a.state == wire::InstanceState::kReady;
  const bool ready_b = b.state == wire::InstanceState::kReady;
  if (ready_a != ready_b) return ready_a;
  if (a.owner != b.owner) return a.owner < b.owner;
  return a.plan.id < b.plan.id;
}

void Catalog::OnSummary(const NodeId& from, const wire::InstanceSummary& summary) {
  const wire::Plan& plan = summary.plan;
  CHECK(from != context_.self());  // own instances are the owner's
  if (summary.owner != from || plan.stages.empty()) return;
  if (plan.owner != from && plan.stages[0].node != from) return;
  const auto known = entries_.find(plan.id);
  if (summary.state == wire::InstanceState::kGone) {
    if (known == entries_.end() || (known->second.claimed && plan.owner == from)) return;
    gone_.push_back({known->second.summary.plan, from, summary.cause});
    entries_.erase(known);
    context_.changed = true;
    return;
  }
  if (known == entries_.end()) {
    if (!Validate(plan) || entries_.size() >= kMaxInstances) return;
    entries_.emplace(plan.id, Entry{summary, context_.now, plan.owner != from});
    CHECK(entries_.size() <= kMaxInstances);
    context_.changed = true;
    return;
  }
  wire::InstanceSummary& mine = known->second.summary;
  if (mine.plan != plan) return;  // same hash, other plan: not possible honestly
  // Once adopted, an instance never goes back to an owner that was only out of reach.
  if (known->second.claimed && plan.owner == from) return;
  known->second.claimed = plan.owner != from;
  known->second.stage_lost = false;
  known->second.seen = context_.now;
  mine.idle_ms = summary.idle_ms;
  if (mine == summary) return;
  mine = summary;
  context_.changed = true;
}

void Catalog::OnPeerLost(const NodeId& peer, const std::function<bool(const NodeId&)>& alive,
                         const std::string& detail) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    wire::InstanceSummary& summary = at->second.summary;
    const bool owned = summary.owner == peer;
    if (wire::StageOf(summary.plan, peer) >= 0) at->second.stage_lost = true;
    // An owner that is there says what has become of it.
    const bool orphaned = at->second.stage_lost && (owned || !alive(summary.owner));
    if (!owned && !orphaned) {
      ++at;
      continue;
    }
    context_.changed = true;
    const NodeId lead = summary.plan.stages[0].node;
    if (summary.state == wire::InstanceState::kReady && !orphaned && alive(lead)) {
      summary.owner = lead;
      (at++)->second.seen = context_.now;
      continue;
    }
    const Reason reason = owned ? Reason::kOwnerLost : Reason::kNodeLost;
    gone_.push_back(
        {summary.plan, summary.owner, {.reason = reason, .node = peer, .detail = detail}});
    at = entries_.erase(at);
  }
}

std::optional<wire::InstanceSummary> Catalog::Take(const PlanId& plan) {
  const auto at = entries_.find(plan);
  if (at == entries_.end()) return std::nullopt;
  wire::InstanceSummary summary = std::move(at->second.summary);
  entries_.erase(at);
  return summary;
}

void Catalog::OnTime() {
  const Time most = context_.timers().lease;
  std::erase_if(entries_, [&](const auto& item) {
    if (context_.now - item.second.seen <= most) return false;
    const wire::InstanceSummary& summary = item.second.summary;
    gone_.push_back(
        {summary.plan, summary.owner, {.reason = Reason::kOwnerSilent, .node = summary.owner}});
    context_.changed = true;
    return true;
  });
}

const wire::InstanceSummary* Catalog::Find(const ModelId& model) const {
  const Entry* best = nullptr;
  for (const auto& [id, entry] : entries_) {
    if (entry.summary.plan.model != model || entry.summary.state == wire::InstanceState::kDraining)
      continue;
    const bool better = best == nullptr || (entry.stage_lost != best->stage_lost
                                                ? best->stage_lost
                                                : Preferred(entry.summary, best->summary));
    if (better) best = &entry;
  }
  return best == nullptr ? nullptr : &best->summary;
}

bool Catalog::Has(const ModelId& model) const {
  return std::ranges::any_of(
      entries_, [&](const auto& item) { return item.second.summary.plan.model == model; });
}

std::vector<const wire::InstanceSummary*> Catalog::Of(const ModelId& model) const {
  std::vector<const wire::InstanceSummary*> all;
  for (const auto& [id, entry] : entries_) {
    if (entry.summary.plan.model == model && entry.summary.state != wire::InstanceState::kDraining)
      all.push_back(&entry.summary);
  }
  return all;
}

const wire::InstanceSummary* Catalog::Find(const PlanId& plan) const {
  const auto at = entries_.find(plan);
  return at == entries_.end() ? nullptr : &at->second.summary;
}

std::vector<wire::InstanceSummary> Catalog::All() const {
  std::vector<wire::InstanceSummary> all;
  for (const auto& [id, entry] : entries_) all.push_back(entry.summary);
  return all;
}

}  // namespace exo::cluster
