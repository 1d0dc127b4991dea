#include "cluster/owner.h"

#include <algorithm>

#include "base/check.h"
#include "wire/plan.h"

namespace exo::cluster {

using wire::Cause;
using wire::InstanceState;
using wire::Reason;

Owner::Instance& Owner::Add(PlanChoice choice) {
  CHECK(choice.plan.owner == context_.self());
  CHECK(!instances_.contains(choice.plan.id));  // a nonce is in the hash: never planned before
  Instance& instance = instances_[choice.plan.id];
  instance.summary.expected = ExpectationOf(choice);
  instance.summary.owner = context_.self();
  instance.summary.plan = std::move(choice.plan);
  instance.next_renew = context_.now + context_.timers().renew;
  return instance;
}

void Owner::Reserve(Instance& instance) {
  SetState(instance, InstanceState::kReserving);
  SendAll(instance.plan(), wire::Reserve{instance.plan(), instance.replaces, instance.former});
}

void Owner::Start(PlanChoice choice) {
  Reserve(Add(std::move(choice)));
}

void Owner::Succeed(PlanChoice choice, const Succession& succession, bool beside) {
  Instance& instance = Add(std::move(choice));
  instance.former = succession.former;
  if (beside) {
    instance.succeeds = succession.plans;
    instance.succeeds_for = succession.cause;
  } else if (!succession.plans.empty()) {
    instance.replaces = succession.plans[0];
  }
  Reserve(instance);
}

void Owner::Drain(const PlanId& plan, const Cause& cause) {
  const auto at = instances_.find(plan);
  if (at == instances_.end() || at->second.summary.state == InstanceState::kDraining) return;
  if (!at->second.was_ready) return End(plan, cause);
  SetState(at->second, InstanceState::kDraining, cause);
}

void Owner::Adopt(wire::InstanceSummary summary) {
  CHECK(summary.state == InstanceState::kReady);
  CHECK(summary.plan.stages[0].node == context_.self());
  if (instances_.contains(summary.plan.id)) return;
  Instance& instance = instances_[summary.plan.id];
  instance.summary = std::move(summary);
  instance.summary.owner = context_.self();
  instance.was_ready = true;
  instance.load_at = context_.now;
  instance.next_renew = context_.now;  // the participants' leases are running
  SetState(instance, InstanceState::kReady);
}

void Owner::SetState(Instance& instance, InstanceState state, Cause cause) {
  CHECK(state >= instance.summary.state);  // an instance never goes back
  instance.summary.state = state;
  instance.summary.cause = std::move(cause);
  instance.since = context_.now;
  context_.changed = true;
  Broadcast(instance);
}

Time Owner::IdleFor(const Instance& instance) const {
  if (instance.summary.active_requests + instance.summary.queued_requests > 0) return Time{};
  return std::chrono::milliseconds(instance.summary.idle_ms) + (context_.now - instance.load_at);
}

void Owner::Broadcast(Instance& instance) {
  wire::InstanceSummary summary = instance.summary;
  if (summary.state == InstanceState::kReady)
    summary.idle_ms = static_cast<uint64_t>(IdleFor(instance) / std::chrono::milliseconds(1));
  for (const NodeId& peer : members_.Sessions()) context_.SendTo(peer, summary);
  instance.told_load = true;
}

void Owner::SendAll(const wire::Plan& plan, const wire::Message& message) {
  for (const wire::StagePlan& stage : plan.stages) context_.SendTo(stage.node, message);
}

Owner::Instance* Owner::Of(const NodeId& participant, const PlanId& plan) {
  const auto at = instances_.find(plan);
  if (at != instances_.end() && StageOf(at->second.plan(), participant) >= 0) return &at->second;
  return nullptr;
}

void Owner::OnReserveReply(const NodeId& from, const wire::ReserveReply& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kReserving) return;
  if (!message.granted) return End(message.plan, message.cause);
  instance->granted.insert(from);
  if (instance->granted.size() < instance->plan().stages.size()) return;
  SetState(*instance, InstanceState::kLoading);
  SendAll(instance->plan(), wire::Commit{message.plan});
}

void Owner::OnLoaded(const NodeId& from, const wire::Loaded& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kLoading) return;
  if (!message.ok) return End(message.plan, message.cause);
  instance->loaded.insert(from);
  instance->since = context_.now;
  if (instance->loaded.size() == instance->plan().stages.size()) OnAllLoaded(*instance);
}

// Requests of those that it succeeds go on here between two tokens.
void Owner::OnAllLoaded(Instance& instance) {
  instance.was_ready = true;
  instance.load_at = context_.now;
  SendAll(instance.plan(), wire::InstanceReady{instance.plan().id});
  SetState(instance, InstanceState::kReady);
  for (const PlanId& former : instance.succeeds) {
    if (instances_.contains(former)) End(former, instance.succeeds_for);
  }
}

void Owner::OnLoadProgress(const NodeId& from, const wire::LoadProgress& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kLoading) return;
  uint64_t& done = instance->progress[from];
  if (message.done_bytes <= done) return;
  done = message.done_bytes;
  instance->since = context_.now;
  if (message.total_bytes == 0) return;
  const auto tenths = static_cast<uint32_t>(
      std::min(10.0, 10 * static_cast<double>(done) / static_cast<double>(message.total_bytes)));
  wire::InstanceSummary& summary = instance->summary;
  if (summary.loading == from && summary.loading_percent == tenths * 10) return;
  summary.loading = from;
  summary.loading_percent = tenths * 10;
  context_.changed = true;
  Broadcast(*instance);
}

void Owner::OnInstanceLoad(const NodeId& from, const wire::InstanceLoad& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->plan().stages[0].node != from) return;
  wire::InstanceSummary& summary = instance->summary;
  instance->load_at = context_.now;
  summary.idle_ms = message.idle_ms;
  if (summary.active_requests == message.active_requests &&
      summary.queued_requests == message.queued_requests)
    return;
  summary.active_requests = message.active_requests;
  summary.queued_requests = message.queued_requests;
  instance->told_load = false;
  context_.changed = true;
}

void Owner::OnRelease(const NodeId& from, const wire::Release& message) {
  if (Of(from, message.plan) != nullptr) End(message.plan, message.cause);
}

void Owner::EndModel(const ModelId& model, const Cause& cause) {
  std::vector<PlanId> plans;
  for (const auto& [id, instance] : instances_) {
    if (instance.plan().model == model) plans.push_back(id);
  }
  for (const PlanId& plan : plans) End(plan, cause);
}

// Two nodes had the same model placed at once (replicas have one owner). Both sides apply the same
// rule to what they know: READY beats not READY, then the lower owner id. A node only ever ends its
// own, and one that is not READY never beats one that is, so the two never end each other.
void Owner::OnOther(const wire::InstanceSummary& other) {
  if (other.state != InstanceState::kReady && other.state != InstanceState::kReserving &&
      other.state != InstanceState::kLoading) {
    return;
  }
  for (const wire::InstanceSummary* own : Of(other.plan.model)) {
    if (own->plan.id == other.plan.id || !Preferred(other, *own)) continue;
    Drain(PlanId(own->plan.id),
          {.reason = Reason::kReplaced, .code = ErrorCode::kOverloaded, .node = other.owner});
  }
}

// The peer may have missed anything while it had no session; every message is idempotent.
void Owner::SendState(const Instance& instance, const NodeId& participant) {
  const PlanId& plan = instance.plan().id;
  switch (instance.summary.state) {
    case InstanceState::kReserving:
      context_.SendTo(participant,
                      wire::Reserve{instance.plan(), instance.replaces, instance.former});
      return;
    case InstanceState::kLoading:
      context_.SendTo(participant, wire::Commit{plan});
      return;
    case InstanceState::kReady:
      context_.SendTo(participant, wire::InstanceReady{plan});
      return;
    case InstanceState::kDraining:
      context_.SendTo(participant, wire::LeaseRenew{plan});
      return;
    case InstanceState::kGone:
      return;
  }
}

void Owner::OnPeerUp(const NodeId& peer) {
  for (const auto& [id, instance] : instances_) {
    if (StageOf(instance.plan(), peer) >= 0) SendState(instance, peer);
    context_.SendTo(peer, instance.summary);
  }
}

void Owner::OnPeerLost(const NodeId& peer, const std::string& detail) {
  std::vector<PlanId> lost;
  for (const auto& [id, instance] : instances_) {
    if (StageOf(instance.plan(), peer) >= 0) lost.push_back(id);
  }
  for (const PlanId& plan : lost)
    End(plan, {.reason = Reason::kNodeLost, .node = peer, .detail = detail});
}

void Owner::OnWake() {
  std::vector<PlanId> plans;
  for (const auto& [id, instance] : instances_) plans.push_back(id);
  for (const PlanId& plan : plans)
    End(plan, {.reason = Reason::kOwnerSuspended, .node = context_.self()});
}

void Owner::End(PlanId plan, Cause cause) {
  const auto at = instances_.find(plan);
  CHECK(at != instances_.end());
  Instance instance = std::move(at->second);
  instances_.erase(at);
  SendAll(instance.plan(), wire::Release{plan, cause});
  SetState(instance, InstanceState::kGone, cause);
  gone_.push_back({instance.plan(), instance.was_ready, std::move(cause)});
}

std::optional<Cause> Owner::TimedOut(const Instance& instance) const {
  const Time age = context_.now - instance.since;
  const Timers& timers = context_.timers();
  switch (instance.summary.state) {
    case InstanceState::kReserving:
      if (age > timers.reserve) return Cause{.reason = Reason::kReservationTimeout};
      break;
    case InstanceState::kLoading:
      if (age > timers.load_stall) return Cause{.reason = Reason::kLoadStalled};
      break;
    case InstanceState::kDraining: {
      const bool idle = instance.summary.active_requests + instance.summary.queued_requests == 0;
      if ((idle && age > timers.heartbeat * 2) || age > timers.drain) return instance.summary.cause;
      break;
    }
    default:
      break;
  }
  return std::nullopt;
}

void Owner::OnTime() {
  std::vector<std::pair<PlanId, Cause>> over;
  for (auto& [id, instance] : instances_) {
    if (auto why = TimedOut(instance)) {
      over.emplace_back(id, *std::move(why));
    } else if (context_.now >= instance.next_renew) {
      instance.next_renew = context_.now + context_.timers().renew;
      SendAll(instance.plan(), wire::LeaseRenew{id});
      Broadcast(instance);
    } else if (!instance.told_load &&
               context_.now - instance.load_at >= context_.timers().load_report) {
      Broadcast(instance);
    }
  }
  for (auto& [plan, why] : over) End(plan, std::move(why));
}

std::vector<const wire::InstanceSummary*> Owner::Of(const ModelId& model) const {
  std::vector<const wire::InstanceSummary*> all;
  for (const auto& [id, instance] : instances_) {
    if (instance.plan().model == model && instance.summary.state != InstanceState::kDraining)
      all.push_back(&instance.summary);
  }
  std::ranges::sort(all, [](const auto* a, const auto* b) { return Preferred(*a, *b); });
  return all;
}

const wire::InstanceSummary* Owner::Find(const ModelId& model) const {
  const std::vector<const wire::InstanceSummary*> all = Of(model);
  return all.empty() ? nullptr : all[0];
}

const wire::InstanceSummary* Owner::Find(const PlanId& plan) const {
  const auto at = instances_.find(plan);
  return at == instances_.end() ? nullptr : &at->second.summary;
}

std::vector<InstanceStatus> Owner::Status() const {
  std::vector<InstanceStatus> all;
  for (const auto& [id, instance] : instances_)
    all.push_back({.summary = instance.summary, .owned = true});
  return all;
}

}  // namespace exo::cluster
