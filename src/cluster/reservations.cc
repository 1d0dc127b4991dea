#include "cluster/reservations.h"

#include "wire/plan.h"

namespace exo::cluster {

Result<void> Reservations::CheckReserve(const NodeId& from, const wire::Plan& plan) const {
  TRY(Validate(plan));
  if (plan.owner != from) {
    return Fail(ErrorCode::kInvalid, "plan {} belongs to {}, not to the sender", plan.id.Short(),
                plan.owner.Short());
  }
  const int stage = StageOf(plan, context_.self());
  if (stage < 0) return Fail(ErrorCode::kInvalid, "plan {} has no stage here", plan.id.Short());
  if (reservations_.size() >= kMaxReservations)
    return Fail(ErrorCode::kOverloaded, "{} instances here, the limit", reservations_.size());
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

void Reservations::Deny(const NodeId& to, const PlanId& plan, Error error) {
  context_.SendTo(to,
                  wire::ReserveReply{
                      .plan = plan, .granted = false, .code = error.code, .reason = error.message});
}

void Reservations::OnReserve(const NodeId& from, const wire::Reserve& message) {
  const wire::Plan& plan = message.plan;
  const auto known = reservations_.find(plan.id);
  if (known == reservations_.end()) {
    if (auto checked = CheckReserve(from, plan); !checked)
      return Deny(from, plan.id, std::move(checked).error());
    Reservation reservation{
        .status = {.plan = plan, .stage = static_cast<uint32_t>(StageOf(plan, context_.self()))}};
    reservation.lease_until = context_.now + context_.timers().lease;
    reservations_.emplace(plan.id, std::move(reservation));
    context_.changed = true;
  } else if (known->second.status.plan.owner != from ||
             known->second.status.state == ReservationState::kStopping) {
    return Deny(from, plan.id, {ErrorCode::kOverloaded, "this plan ended here already"});
  }
  context_.SendTo(from, wire::ReserveReply{.plan = plan.id, .granted = true});
}

Reservations::Reservation* Reservations::Owned(const NodeId& from, const PlanId& plan) {
  const auto at = reservations_.find(plan);
  if (at != reservations_.end() && at->second.status.plan.owner == from &&
      at->second.status.state != ReservationState::kStopping) {
    return &at->second;
  }
  ++context_.stale_messages;
  context_.SendTo(from, wire::Release{plan, fmt::format("{} does not have the plan any more",
                                                        members_.self().name)});
  return nullptr;
}

void Reservations::SendLoaded(const Reservation& reservation) {
  context_.SendTo(reservation.status.plan.owner, wire::Loaded{.plan = reservation.status.plan.id,
                                                              .ok = true,
                                                              .milliseconds = reservation.load_ms});
}

void Reservations::OnCommit(const NodeId& from, const wire::Commit& message) {
  Reservation* reservation = Owned(from, message.plan);
  if (reservation == nullptr) return;
  reservation->lease_until = context_.now + context_.timers().lease;
  if (reservation->status.state == ReservationState::kReserved) {
    reservation->status.state = ReservationState::kLoading;
    context_.changed = true;
    context_.Emit(StartLoad{reservation->status.plan, reservation->status.stage});
  } else if (reservation->status.state != ReservationState::kLoading) {
    SendLoaded(*reservation);
  }
}

void Reservations::OnReady(const NodeId& from, const wire::InstanceReady& message) {
  Reservation* reservation = Owned(from, message.plan);
  if (reservation == nullptr) return;
  reservation->lease_until = context_.now + context_.timers().lease;
  if (reservation->status.state != ReservationState::kLoaded) return;
  reservation->status.state = ReservationState::kReady;
  context_.changed = true;
  context_.Emit(StartServing{reservation->status.plan, reservation->status.stage});
  news_.push_back({.plan = message.plan, .serving = true});
}

void Reservations::OnRenew(const NodeId& from, const wire::LeaseRenew& message) {
  Reservation* reservation = Owned(from, message.plan);
  if (reservation != nullptr) reservation->lease_until = context_.now + context_.timers().lease;
}

void Reservations::OnRelease(const NodeId& from, const wire::Release& message) {
  const auto at = reservations_.find(message.plan);
  if (at == reservations_.end() || at->second.status.plan.owner != from) return;
  const ErrorCode code =
      message.reason == kUnloadReason ? ErrorCode::kCancelled : ErrorCode::kDisconnected;
  Stop(at->second, {code, message.reason});
}

// Whatever the state is: the memory comes back, at once or when the driver says so.
void Reservations::Stop(Reservation& reservation, Error error) {
  if (reservation.status.state == ReservationState::kStopping) return;
  context_.changed = true;
  const PlanId plan = reservation.status.plan.id;
  if (reservation.status.state == ReservationState::kReserved) {
    reservations_.erase(plan);
    return;
  }
  reservation.status.state = ReservationState::kStopping;
  context_.Emit(StopInstance{plan, error.message});
  news_.push_back({.plan = plan, .serving = false, .error = std::move(error)});
}

void Reservations::OnLoadFinished(const LoadFinished& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state != ReservationState::kLoading) return;
  Reservation& reservation = at->second;
  context_.changed = true;
  if (event.result) {
    reservation.status.state = ReservationState::kLoaded;
    reservation.load_ms = event.milliseconds;
    SendLoaded(reservation);
    return;
  }
  context_.SendTo(reservation.status.plan.owner,
                  wire::Loaded{.plan = event.plan,
                               .ok = false,
                               .code = event.result.error().code,
                               .reason = event.result.error().message,
                               .milliseconds = event.milliseconds});
  Stop(reservation, event.result.error());
}

void Reservations::OnLoadProgressed(const LoadProgressed& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state != ReservationState::kLoading) return;
  context_.SendTo(at->second.status.plan.owner,
                  wire::LoadProgress{event.plan, event.done_bytes, event.total_bytes});
}

void Reservations::OnStageFailed(const StageFailed& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state == ReservationState::kStopping) return;
  const wire::Plan& plan = at->second.status.plan;
  const NodeId culprit = event.lost.IsZero() ? context_.self() : event.lost;
  Error error{ErrorCode::kDisconnected,
              fmt::format("lost {} ({}): {}", members_.NameOf(culprit),
                          DescribeStage(plan, StageOf(plan, culprit)), event.error.message)};
  context_.SendTo(plan.owner, wire::Release{plan.id, error.message});
  Stop(at->second, std::move(error));
}

void Reservations::OnStageStopped(const StageStopped& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state != ReservationState::kStopping) return;
  reservations_.erase(at);
  context_.changed = true;
}

void Reservations::OnOwnerLost(const NodeId& owner, const std::string& reason) {
  const std::string why =
      fmt::format("lost {}, which coordinated the instance: {}", members_.NameOf(owner), reason);
  for (auto at = reservations_.begin(); at != reservations_.end();) {
    Reservation& reservation = (at++)->second;  // Stop may erase it
    if (reservation.status.plan.owner == owner && !context_.options.bugs.no_lease_expiry) {
      Stop(reservation, {ErrorCode::kDisconnected, why});
    }
  }
}

void Reservations::OnNeighborLost(const NodeId& peer, const std::string& reason) {
  std::vector<PlanId> plans;
  for (const auto& [id, reservation] : reservations_) {
    const auto& [plan, own, state] = reservation.status;
    const size_t stages = plan.stages.size();
    const bool neighbor = plan.stages[(own + 1) % stages].node == peer ||
                          plan.stages[(own + stages - 1) % stages].node == peer;
    if (neighbor && state == ReservationState::kReady) plans.push_back(id);
  }
  for (const PlanId& plan : plans) OnStageFailed({plan, {ErrorCode::kDisconnected, reason}, peer});
}

void Reservations::OnTime() {
  if (context_.options.bugs.no_lease_expiry) return;
  for (auto at = reservations_.begin(); at != reservations_.end();) {
    Reservation& reservation = (at++)->second;
    if (context_.now <= reservation.lease_until) continue;
    Stop(reservation, {ErrorCode::kDisconnected,
                       fmt::format("{}, which coordinated the instance, was not heard for {} s",
                                   members_.NameOf(reservation.status.plan.owner),
                                   context_.timers().lease / std::chrono::seconds(1))});
  }
}

const ReservationStatus* Reservations::Find(const PlanId& plan) const {
  const auto at = reservations_.find(plan);
  return at == reservations_.end() ? nullptr : &at->second.status;
}

uint64_t Reservations::reserved_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, reservation] : reservations_) bytes += reservation.bytes();
  return bytes;
}

std::vector<ReservationStatus> Reservations::Status() const {
  std::vector<ReservationStatus> all;
  for (const auto& [id, reservation] : reservations_) all.push_back(reservation.status);
  return all;
}

}  // namespace exo::cluster
