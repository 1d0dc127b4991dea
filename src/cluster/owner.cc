#include "cluster/owner.h"

#include "wire/plan.h"

namespace exo::cluster {

using wire::InstanceState;

void Owner::Start(PlanChoice choice) {
  const PlanId id = choice.plan.id;
  Instance& instance = instances_[id];
  instance.summary.plan = std::move(choice.plan);
  instance.reason = std::move(choice.reason);
  instance.prediction = std::move(choice.prediction);
  instance.next_renew = context_.now + context_.timers().renew;
  SetState(instance, InstanceState::kReserving, "reserving memory");
  SendAll(instance.plan(), wire::Reserve{instance.plan()});
}

void Owner::SetState(Instance& instance, InstanceState state, std::string detail) {
  instance.summary.state = state;
  instance.summary.detail = std::move(detail);
  instance.since = context_.now;
  context_.changed = true;
  Broadcast(instance);
}

void Owner::Broadcast(const Instance& instance) {
  for (const NodeId& peer : members_.Sessions()) context_.SendTo(peer, instance.summary);
}

void Owner::SendAll(const wire::Plan& plan, const wire::Message& message) {
  for (const wire::StagePlan& stage : plan.stages) context_.SendTo(stage.node, message);
}

Owner::Instance* Owner::Of(const NodeId& participant, const PlanId& plan) {
  const auto at = instances_.find(plan);
  if (at != instances_.end() && StageOf(at->second.plan(), participant) >= 0) return &at->second;
  ++context_.stale_messages;
  return nullptr;
}

void Owner::OnReserveReply(const NodeId& from, const wire::ReserveReply& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kReserving) return;
  if (!message.granted) return End(message.plan, {message.code, message.reason});
  instance->granted.insert(from);
  if (instance->granted.size() < instance->plan().stages.size()) return;
  SetState(*instance, InstanceState::kLoading, "loading");
  SendAll(instance->plan(), wire::Commit{message.plan});
}

void Owner::OnLoaded(const NodeId& from, const wire::Loaded& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kLoading) return;
  if (!message.ok) {
    const int stage = StageOf(instance->plan(), from);
    return End(message.plan,
               {message.code, fmt::format("{} could not load {}: {}", members_.NameOf(from),
                                          DescribeStage(instance->plan(), stage), message.reason)});
  }
  instance->loaded.insert(from);
  instance->since = context_.now;
  if (instance->loaded.size() < instance->plan().stages.size()) return;
  instance->was_ready = true;
  SendAll(instance->plan(), wire::InstanceReady{message.plan});
  SetState(*instance, InstanceState::kReady, "ready");
}

void Owner::OnLoadProgress(const NodeId& from, const wire::LoadProgress& message) {
  Instance* instance = Of(from, message.plan);
  if (instance == nullptr || instance->summary.state != InstanceState::kLoading) return;
  uint64_t& done = instance->progress[from];
  if (message.done_bytes <= done) return;
  done = message.done_bytes;
  instance->since = context_.now;
  if (message.total_bytes == 0) return;
  const auto tenths = static_cast<uint64_t>(10.0 * static_cast<double>(message.done_bytes) /
                                            static_cast<double>(message.total_bytes));
  std::string detail = fmt::format("loading, {} at {} %", members_.NameOf(from),
                                   std::min<uint64_t>(tenths, 10) * 10);
  if (detail == instance->summary.detail) return;
  instance->summary.detail = std::move(detail);
  context_.changed = true;
  Broadcast(*instance);
}

void Owner::OnRelease(const NodeId& from, const wire::Release& message) {
  const auto at = instances_.find(message.plan);
  if (at == instances_.end()) return;
  if (message.reason == kUnloadReason) {
    End(message.plan, {ErrorCode::kCancelled, kUnloadReason});
  } else if (StageOf(at->second.plan(), from) >= 0) {
    End(message.plan, {ErrorCode::kDisconnected, message.reason});
  }
}

bool Owner::Unload(const ModelId& model) {
  std::vector<PlanId> plans;
  for (const auto& [id, instance] : instances_) {
    if (instance.plan().model == model) plans.push_back(id);
  }
  for (const PlanId& plan : plans) End(plan, {ErrorCode::kCancelled, kUnloadReason});
  return !plans.empty();
}

// Two nodes had the same model placed at once. Both sides apply the same rule to what they know:
// READY beats not READY, then the lower owner id. A node only ever ends its own, and one that is
// not READY never beats one that is, so the two never end each other.
void Owner::OnOther(const wire::InstanceSummary& other) {
  if (other.state != InstanceState::kReady && other.state != InstanceState::kReserving &&
      other.state != InstanceState::kLoading) {
    return;
  }
  for (auto& [id, instance] : instances_) {
    if (instance.plan().model != other.plan.model ||
        instance.summary.state == InstanceState::kDraining)
      continue;
    if (!Preferred(other, instance.summary)) continue;
    const std::string why =
        fmt::format("{} has placed the same model", members_.NameOf(other.plan.owner));
    if (instance.was_ready) return SetState(instance, InstanceState::kDraining, why);
    return End(id, {ErrorCode::kOverloaded, why});
  }
}

// The peer may have missed anything while it had no session; every message is idempotent.
void Owner::SendState(const Instance& instance, const NodeId& participant) {
  const PlanId& plan = instance.plan().id;
  switch (instance.summary.state) {
    case InstanceState::kReserving:
      context_.SendTo(participant, wire::Reserve{instance.plan()});
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

void Owner::OnPeerLost(const NodeId& peer, const std::string& reason) {
  std::vector<std::pair<PlanId, std::string>> lost;
  for (const auto& [id, instance] : instances_) {
    const int stage = StageOf(instance.plan(), peer);
    if (stage < 0) continue;
    lost.emplace_back(id, fmt::format("lost {} ({}): {}", members_.NameOf(peer),
                                      DescribeStage(instance.plan(), stage), reason));
  }
  for (auto& [plan, why] : lost) End(plan, {ErrorCode::kDisconnected, std::move(why)});
}

void Owner::OnWake() {
  std::vector<PlanId> plans;
  for (const auto& [id, instance] : instances_) plans.push_back(id);
  for (const PlanId& plan : plans) {
    End(plan, {ErrorCode::kDisconnected,
               fmt::format("{} slept and gave its instances up", members_.self().name)});
  }
}

void Owner::End(PlanId plan, Error error) {
  const auto at = instances_.find(plan);
  Instance instance = std::move(at->second);
  instances_.erase(at);
  SendAll(instance.plan(), wire::Release{plan, error.message});
  SetState(instance, InstanceState::kGone, error.message);
  gone_.push_back({instance.plan(), instance.was_ready, std::move(error)});
}

std::optional<std::string> Owner::TimedOut(const Instance& instance) const {
  const Time age = context_.now - instance.since;
  switch (instance.summary.state) {
    case InstanceState::kReserving:
      if (age > context_.timers().reserve) return "not every node answered the reservation";
      break;
    case InstanceState::kLoading:
      if (age > context_.timers().load_stall) return "loading made no progress";
      break;
    case InstanceState::kDraining: {
      const bool idle = instance.plan().stages[0].node == context_.self() &&
                        instance.summary.active_requests == 0 && age > context_.timers().heartbeat;
      if (idle || age > context_.timers().drain) return instance.summary.detail;
      break;
    }
    default:
      break;
  }
  return std::nullopt;
}

void Owner::CheckTimes() {
  std::vector<std::pair<PlanId, std::string>> over;
  for (auto& [id, instance] : instances_) {
    if (auto why = TimedOut(instance)) {
      over.emplace_back(id, *std::move(why));
    } else if (context_.now >= instance.next_renew) {
      instance.next_renew = context_.now + context_.timers().renew;
      SendAll(instance.plan(), wire::LeaseRenew{id});
      Broadcast(instance);
    }
  }
  for (auto& [plan, why] : over) End(plan, {ErrorCode::kDisconnected, std::move(why)});
}

const wire::InstanceSummary* Owner::Find(const ModelId& model) const {
  for (const auto& [id, instance] : instances_) {
    if (instance.plan().model == model && instance.summary.state != InstanceState::kDraining)
      return &instance.summary;
  }
  return nullptr;
}

const wire::InstanceSummary* Owner::Find(const PlanId& plan) const {
  const auto at = instances_.find(plan);
  return at == instances_.end() ? nullptr : &at->second.summary;
}

std::vector<InstanceStatus> Owner::Status() const {
  std::vector<InstanceStatus> all;
  for (const auto& [id, instance] : instances_) {
    all.push_back({.summary = instance.summary,
                   .owned = true,
                   .reason = instance.reason,
                   .prediction = instance.prediction});
  }
  return all;
}

}  // namespace exo::cluster
