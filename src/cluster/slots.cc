#include "cluster/slots.h"

#include "cluster/plan.h"

namespace exo::cluster {

Result<void> SlotTable::CheckReserve(const NodeId& from, const wire::Plan& plan) const {
  TRY(Validate(plan));
  if (plan.owner != from) {
    return Fail(ErrorCode::kInvalid, "plan {} belongs to {}, not to the sender", plan.id.Short(),
                plan.owner.Short());
  }
  const int stage = StageOf(plan, context_.self());
  if (stage < 0) return Fail(ErrorCode::kInvalid, "plan {} has no stage here", plan.id.Short());
  if (slots_.size() >= kMaxSlots)
    return Fail(ErrorCode::kOverloaded, "{} instances here, the limit", slots_.size());
  const uint64_t bytes = plan.stages[static_cast<size_t>(stage)].bytes;
  const uint64_t budget = members_.self().memory_budget;
  const uint64_t reserved = reserved_bytes();
  const uint64_t available = budget > reserved ? budget - reserved : 0;
  if (bytes > available && !context_.options.bugs.no_grant_check) {
    return Fail(ErrorCode::kOverloaded, "{} has {} of {} left, its part needs {}",
                members_.self().name, FormatSize(available), FormatSize(budget), FormatSize(bytes));
  }
  return {};
}

void SlotTable::Deny(const NodeId& to, const PlanId& plan, Error error) {
  context_.SendTo(to,
                  wire::ReserveReply{
                      .plan = plan, .granted = false, .code = error.code, .reason = error.message});
}

void SlotTable::OnReserve(const NodeId& from, const wire::Reserve& message) {
  const wire::Plan& plan = message.plan;
  const auto known = slots_.find(plan.id);
  if (known == slots_.end()) {
    if (auto checked = CheckReserve(from, plan); !checked)
      return Deny(from, plan.id, std::move(checked).error());
    Slot slot{
        .status = {.plan = plan, .stage = static_cast<uint32_t>(StageOf(plan, context_.self()))}};
    slot.lease_until = context_.now + context_.timers().lease;
    slots_.emplace(plan.id, std::move(slot));
    context_.changed = true;
  } else if (known->second.status.plan.owner != from ||
             known->second.status.state == SlotState::kStopping) {
    return Deny(from, plan.id, {ErrorCode::kOverloaded, "this plan ended here already"});
  }
  context_.SendTo(from, wire::ReserveReply{.plan = plan.id, .granted = true});
}

SlotTable::Slot* SlotTable::Owned(const NodeId& from, const PlanId& plan) {
  const auto at = slots_.find(plan);
  if (at != slots_.end() && at->second.status.plan.owner == from &&
      at->second.status.state != SlotState::kStopping) {
    return &at->second;
  }
  ++context_.stale_messages;
  context_.SendTo(from, wire::Release{plan, fmt::format("{} does not have the plan any more",
                                                        members_.self().name)});
  return nullptr;
}

void SlotTable::SendLoaded(const Slot& slot) {
  context_.SendTo(
      slot.status.plan.owner,
      wire::Loaded{.plan = slot.status.plan.id, .ok = true, .milliseconds = slot.load_ms});
}

void SlotTable::OnCommit(const NodeId& from, const wire::Commit& message) {
  Slot* slot = Owned(from, message.plan);
  if (slot == nullptr) return;
  slot->lease_until = context_.now + context_.timers().lease;
  if (slot->status.state == SlotState::kReserved) {
    slot->status.state = SlotState::kLoading;
    context_.changed = true;
    context_.Emit(StartLoad{slot->status.plan, slot->status.stage});
  } else if (slot->status.state != SlotState::kLoading) {
    SendLoaded(*slot);
  }
}

void SlotTable::OnReady(const NodeId& from, const wire::InstanceReady& message) {
  Slot* slot = Owned(from, message.plan);
  if (slot == nullptr) return;
  slot->lease_until = context_.now + context_.timers().lease;
  if (slot->status.state != SlotState::kLoaded) return;
  slot->status.state = SlotState::kReady;
  context_.changed = true;
  context_.Emit(StartServing{slot->status.plan, slot->status.stage});
  news_.push_back({.plan = message.plan, .serving = true});
}

void SlotTable::OnRenew(const NodeId& from, const wire::LeaseRenew& message) {
  Slot* slot = Owned(from, message.plan);
  if (slot != nullptr) slot->lease_until = context_.now + context_.timers().lease;
}

void SlotTable::OnRelease(const NodeId& from, const wire::Release& message) {
  const auto at = slots_.find(message.plan);
  if (at == slots_.end() || at->second.status.plan.owner != from) return;
  const ErrorCode code =
      message.reason == kUnloadReason ? ErrorCode::kCancelled : ErrorCode::kDisconnected;
  Stop(at->second, {code, message.reason});
}

// Whatever the state is: the memory comes back, at once or when the driver says so.
void SlotTable::Stop(Slot& slot, Error error) {
  if (slot.status.state == SlotState::kStopping) return;
  context_.changed = true;
  const PlanId plan = slot.status.plan.id;
  if (slot.status.state == SlotState::kReserved) {
    slots_.erase(plan);
    return;
  }
  slot.status.state = SlotState::kStopping;
  context_.Emit(StopInstance{plan, error.message});
  news_.push_back({.plan = plan, .serving = false, .error = std::move(error)});
}

void SlotTable::OnLoadFinished(const LoadFinished& event) {
  const auto at = slots_.find(event.plan);
  if (at == slots_.end() || at->second.status.state != SlotState::kLoading) return;
  Slot& slot = at->second;
  context_.changed = true;
  if (event.result) {
    slot.status.state = SlotState::kLoaded;
    slot.load_ms = event.milliseconds;
    SendLoaded(slot);
    return;
  }
  context_.SendTo(slot.status.plan.owner, wire::Loaded{.plan = event.plan,
                                                       .ok = false,
                                                       .code = event.result.error().code,
                                                       .reason = event.result.error().message,
                                                       .milliseconds = event.milliseconds});
  Stop(slot, event.result.error());
}

void SlotTable::OnLoadProgressed(const LoadProgressed& event) {
  const auto at = slots_.find(event.plan);
  if (at == slots_.end() || at->second.status.state != SlotState::kLoading) return;
  context_.SendTo(at->second.status.plan.owner,
                  wire::LoadProgress{event.plan, event.done_bytes, event.total_bytes});
}

void SlotTable::OnStageFailed(const StageFailed& event) {
  const auto at = slots_.find(event.plan);
  if (at == slots_.end() || at->second.status.state == SlotState::kStopping) return;
  const wire::Plan& plan = at->second.status.plan;
  const NodeId culprit = event.lost.IsZero() ? context_.self() : event.lost;
  Error error{ErrorCode::kDisconnected,
              fmt::format("lost {} ({}): {}", members_.NameOf(culprit),
                          DescribeStage(plan, StageOf(plan, culprit)), event.error.message)};
  context_.SendTo(plan.owner, wire::Release{plan.id, error.message});
  Stop(at->second, std::move(error));
}

void SlotTable::OnStageStopped(const StageStopped& event) {
  const auto at = slots_.find(event.plan);
  if (at == slots_.end() || at->second.status.state != SlotState::kStopping) return;
  slots_.erase(at);
  context_.changed = true;
}

void SlotTable::OnOwnerLost(const NodeId& owner, const std::string& reason) {
  const std::string why =
      fmt::format("lost {}, which coordinated the instance: {}", members_.NameOf(owner), reason);
  for (auto at = slots_.begin(); at != slots_.end();) {
    Slot& slot = (at++)->second;  // Stop may erase it
    if (slot.status.plan.owner == owner && !context_.options.bugs.no_lease_expiry) {
      Stop(slot, {ErrorCode::kDisconnected, why});
    }
  }
}

void SlotTable::OnTime() {
  if (context_.options.bugs.no_lease_expiry) return;
  for (auto at = slots_.begin(); at != slots_.end();) {
    Slot& slot = (at++)->second;
    if (context_.now <= slot.lease_until) continue;
    Stop(slot, {ErrorCode::kDisconnected,
                fmt::format("{}, which coordinated the instance, was not heard for {} s",
                            members_.NameOf(slot.status.plan.owner),
                            context_.timers().lease / std::chrono::seconds(1))});
  }
}

const SlotStatus* SlotTable::Find(const PlanId& plan) const {
  const auto at = slots_.find(plan);
  return at == slots_.end() ? nullptr : &at->second.status;
}

uint64_t SlotTable::reserved_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, slot] : slots_) bytes += slot.bytes();
  return bytes;
}

std::vector<SlotStatus> SlotTable::Status() const {
  std::vector<SlotStatus> all;
  for (const auto& [id, slot] : slots_) all.push_back(slot.status);
  return all;
}

}  // namespace exo::cluster
