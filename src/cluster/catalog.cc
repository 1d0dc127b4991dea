#include "cluster/catalog.h"

#include "wire/plan.h"

namespace exo::cluster {

bool Preferred(const wire::InstanceSummary& a, const wire::InstanceSummary& b) {
  const bool ready_a = a.state == wire::InstanceState::kReady;
  const bool ready_b = b.state == wire::InstanceState::kReady;
  if (ready_a != ready_b) return ready_a;
  return a.plan.owner < b.plan.owner;
}

void Catalog::OnSummary(const NodeId& from, const wire::InstanceSummary& summary) {
  if (summary.plan.owner != from || summary.plan.id.IsZero()) return;
  const auto known = entries_.find(summary.plan.id);
  if (summary.state == wire::InstanceState::kGone) {
    if (known == entries_.end()) return;
    gone_.push_back({known->second.summary.plan, summary.detail});
    entries_.erase(known);
    context_.changed = true;
    return;
  }
  if (known != entries_.end()) {
    known->second.seen = context_.now;
    if (known->second.summary == summary) return;
    if (known->second.summary.plan != summary.plan)
      return;  // same hash, other plan: not possible honestly
    known->second.summary = summary;
  } else {
    if (!Validate(summary.plan) || entries_.size() >= kMaxInstances) return;
    entries_.emplace(summary.plan.id, Entry{summary, context_.now});
  }
  context_.changed = true;
}

void Catalog::OnOwnerLost(const NodeId& owner, const std::string& why) {
  std::erase_if(entries_, [&](const auto& item) {
    const wire::Plan& plan = item.second.summary.plan;
    if (plan.owner != owner) return false;
    gone_.push_back({plan, why});
    context_.changed = true;
    return true;
  });
}

void Catalog::OnTime() {
  const Time most = context_.timers().lease;
  std::erase_if(entries_, [&](const auto& item) {
    if (context_.now - item.second.seen <= most) return false;
    gone_.push_back({item.second.summary.plan, "its owner does not report it any more"});
    context_.changed = true;
    return true;
  });
}

const wire::InstanceSummary* Catalog::Find(const ModelId& model) const {
  const wire::InstanceSummary* best = nullptr;
  for (const auto& [id, entry] : entries_) {
    if (entry.summary.plan.model != model || entry.summary.state == wire::InstanceState::kDraining)
      continue;
    if (best == nullptr || Preferred(entry.summary, *best)) best = &entry.summary;
  }
  return best;
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
