#include "cluster/reservations.h"

#include <algorithm>

#include "base/check.h"
#include "wire/plan.h"

namespace exo::cluster {

namespace {

using wire::Cause;
using wire::Reason;

// No cache holds a position of a layer in less than a byte, and no layer less than a page: a
// smaller claim hides memory that the load will take. The loader compares the exact figure.
uint64_t MinStageBytes(const wire::Plan& plan, uint32_t stage) {
  const wire::StagePlan& part = plan.stages[stage];
  uint64_t bytes = uint64_t{part.layer_end - part.layer_begin} * wire::kPagePositions;
  if (part.shard) {
    const wire::StagePlan& last = plan.stages[GroupOf(plan, stage).end - 1];
    bytes = bytes * (part.shard->kv_end - part.shard->kv_begin) / last.shard->kv_end;
  }
  return std::max<uint64_t>(1, bytes);
}

}  // namespace

std::optional<Cause> Reservations::CheckReserve(const NodeId& from, const wire::Plan& plan) const {
  const auto invalid = [&](std::string detail) {
    return Cause{.reason = Reason::kInvalidPlan,
                 .code = ErrorCode::kInvalid,
                 .node = context_.self(),
                 .detail = std::move(detail)};
  };
  if (auto valid = Validate(plan); !valid) return invalid(valid.error().message);
  if (plan.owner != from) {
    return invalid(fmt::format("plan {} belongs to {}, not to the sender", plan.id.Short(),
                               plan.owner.Short()));
  }
  const int stage = StageOf(plan, context_.self());
  if (stage < 0) return invalid(fmt::format("plan {} has no stage here", plan.id.Short()));
  const auto index = static_cast<uint32_t>(stage);
  if (plan.stages[index].bytes < MinStageBytes(plan, index)) {
    return invalid(fmt::format("plan {} claims {} bytes, its KV cache alone takes {}",
                               plan.id.Short(), plan.stages[index].bytes,
                               MinStageBytes(plan, index)));
  }
  if (reservations_.size() >= kMaxReservations) {
    return Cause{.reason = Reason::kNoRoom,
                 .code = ErrorCode::kOverloaded,
                 .node = context_.self(),
                 .needed = reservations_.size()};
  }
  return CheckMemory(plan, index);
}

std::optional<Cause> Reservations::CheckMemory(const wire::Plan& plan, uint32_t stage) const {
  const uint64_t bytes = plan.stages[stage].bytes;
  const uint64_t budget = wire::TotalOf(members_.self()).memory_budget;
  const uint64_t reserved = reserved_bytes();
  const uint64_t available = budget > reserved ? budget - reserved : 0;
  if (bytes <= available || context_.options.bugs.no_grant_check) return std::nullopt;
  return Cause{.reason = Reason::kNoMemory,
               .code = ErrorCode::kOverloaded,
               .node = context_.self(),
               .needed = bytes,
               .available = available,
               .budget = budget};
}

void Reservations::Deny(const NodeId& to, const PlanId& plan, Cause cause) {
  context_.SendTo(to,
                  wire::ReserveReply{.plan = plan, .granted = false, .cause = std::move(cause)});
}

// Memory that is on its way back is waited for: a plan often takes the place of another one.
bool Reservations::WaitsForMemory(const NodeId& from, const wire::Reserve& message,
                                  const Cause& why) {
  if (why.reason != Reason::kNoMemory || waiting_.size() >= kMaxReservations) return false;
  uint64_t coming = 0;
  for (const auto& [id, reservation] : reservations_) {
    if (reservation.status.state == ReservationState::kStopping) coming += reservation.bytes();
  }
  if (why.needed > why.available + coming) return false;
  waiting_.push_back({.from = from, .message = message, .since = context_.now});
  return true;
}

// In the order in which they came.
void Reservations::ServeWaiting() {
  for (Waiting& waiting : std::exchange(waiting_, {})) {
    const Time since = waiting.since;
    if (context_.now - since > context_.timers().reserve) continue;  // its owner has given it up
    OnReserve(waiting.from, waiting.message);
    if (!waiting_.empty() && waiting_.back().message.plan.id == waiting.message.plan.id)
      waiting_.back().since = since;
  }
}

void Reservations::OnReserve(const NodeId& from, const wire::Reserve& message) {
  const wire::Plan& plan = message.plan;
  if (!message.replaces.IsZero())
    OnRelease(from, {message.replaces, {.reason = Reason::kMoved, .node = from}});
  const auto known = reservations_.find(plan.id);
  if (known == reservations_.end()) {
    std::erase_if(waiting_, [&](const Waiting& one) { return one.message.plan.id == plan.id; });
    if (auto why = CheckReserve(from, plan)) {
      if (WaitsForMemory(from, message, *why)) return;
      return Deny(from, plan.id, *std::move(why));
    }
    Reservation reservation{
        .status = {.plan = plan,
                   .owner = from,
                   .stage = static_cast<uint32_t>(StageOf(plan, context_.self()))},
        .former = message.former};
    reservation.lease_until = context_.now + context_.timers().lease;
    reservations_.emplace(plan.id, std::move(reservation));
    CHECK(reservations_.size() <= kMaxReservations);
    CHECK(context_.options.bugs.no_grant_check ||
          reserved_bytes() <= wire::TotalOf(members_.self()).memory_budget);  // promised once
    context_.changed = true;
  } else if (known->second.status.owner != from ||
             known->second.status.state == ReservationState::kStopping) {
    return Deny(
        from, plan.id,
        {.reason = Reason::kPlanEnded, .code = ErrorCode::kOverloaded, .node = context_.self()});
  }
  context_.SendTo(from, wire::ReserveReply{.plan = plan.id, .granted = true});
}

Reservations::Reservation* Reservations::Owned(const NodeId& from, const PlanId& plan) {
  const auto at = reservations_.find(plan);
  if (at != reservations_.end() && at->second.status.owner == from &&
      at->second.status.state != ReservationState::kStopping) {
    return &at->second;
  }
  context_.SendTo(from,
                  wire::Release{plan, {.reason = Reason::kPlanEnded, .node = context_.self()}});
  return nullptr;
}

void Reservations::SendLoaded(const Reservation& reservation) {
  context_.SendTo(reservation.status.owner, wire::Loaded{.plan = reservation.status.plan.id,
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
    context_.Emit(
        StartLoad{reservation->status.plan, reservation->status.stage, reservation->former});
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
  notices_.push_back({.plan = message.plan, .serving = true});
}

void Reservations::OnRenew(const NodeId& from, const wire::LeaseRenew& message) {
  Reservation* reservation = Owned(from, message.plan);
  if (reservation != nullptr) reservation->lease_until = context_.now + context_.timers().lease;
}

void Reservations::OnRelease(const NodeId& from, const wire::Release& message) {
  std::erase_if(waiting_, [&](const Waiting& one) {
    return one.from == from && one.message.plan.id == message.plan;
  });
  const auto at = reservations_.find(message.plan);
  if (at == reservations_.end() || at->second.status.owner != from) return;
  Stop(at->second, message.cause);
}

// Whatever the state is: the memory comes back, at once or when the driver says so.
void Reservations::Stop(Reservation& reservation, Cause cause) {
  CHECK(StageOf(reservation.status.plan, context_.self()) >= 0);
  if (reservation.status.state == ReservationState::kStopping) return;
  context_.changed = true;
  const PlanId plan = reservation.status.plan.id;
  if (reservation.status.state == ReservationState::kReserved) {
    reservations_.erase(plan);
    return;
  }
  Error error = ErrorOf(cause, &reservation.status.plan,
                        [this](const NodeId& node) { return members_.NameOf(node); });
  reservation.status.state = ReservationState::kStopping;
  context_.Emit(StopInstance{plan, cause});
  notices_.push_back({.plan = plan,
                      .serving = false,
                      .moved = wire::MakesWay(cause.reason),
                      .error = std::move(error)});
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
  const Cause cause{.reason = Reason::kLoadFailed,
                    .code = event.result.error().code,
                    .node = context_.self(),
                    .detail = event.result.error().message};
  context_.SendTo(
      reservation.status.owner,
      wire::Loaded{
          .plan = event.plan, .ok = false, .cause = cause, .milliseconds = event.milliseconds});
  Stop(reservation, cause);
}

// A loader reports each megabyte: what is passed on is enough for a progress bar, and for the owner
// to see that it goes on.
void Reservations::OnLoadProgressed(const LoadProgressed& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state != ReservationState::kLoading) return;
  if (context_.now < at->second.next_progress) return;
  at->second.next_progress = context_.now + context_.timers().load_report;
  context_.SendTo(at->second.status.owner,
                  wire::LoadProgress{event.plan, event.done_bytes, event.total_bytes});
}

void Reservations::OnStageFailed(const StageFailed& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state == ReservationState::kStopping) return;
  const Cause cause{.reason = Reason::kStageFailed,
                    .node = event.lost.IsZero() ? context_.self() : event.lost,
                    .detail = event.error.message};
  context_.SendTo(at->second.status.owner, wire::Release{event.plan, cause});
  Stop(at->second, cause);
}

void Reservations::OnStageStopped(const StageStopped& event) {
  const auto at = reservations_.find(event.plan);
  if (at == reservations_.end() || at->second.status.state != ReservationState::kStopping) return;
  reservations_.erase(at);
  context_.changed = true;
  ServeWaiting();
}

// Its lead goes on with a READY instance that does not need the lost node.
bool Reservations::CanGoOn(const Reservation& reservation, const NodeId& lost) const {
  const wire::Plan& plan = reservation.status.plan;
  if (reservation.status.state != ReservationState::kReady || StageOf(plan, lost) >= 0)
    return false;
  return std::all_of(plan.stages.begin(), plan.stages.end(), [&](const wire::StagePlan& stage) {
    return stage.node == context_.self() || members_.IsAlive(stage.node);
  });
}

std::vector<PlanId> Reservations::OnOwnerLost(const NodeId& owner, const std::string& detail) {
  std::vector<PlanId> adopted;
  std::erase_if(waiting_, [&](const Waiting& one) { return one.from == owner; });
  for (auto at = reservations_.begin(); at != reservations_.end();) {
    Reservation& reservation = (at++)->second;  // Stop may erase it
    if (reservation.status.owner != owner || context_.options.bugs.no_lease_expiry) continue;
    if (!CanGoOn(reservation, owner)) {
      Stop(reservation, {.reason = Reason::kOwnerLost, .node = owner, .detail = detail});
      continue;
    }
    // The lease goes on: it is over when the new owner never renews it.
    reservation.status.owner = reservation.status.plan.stages[0].node;
    if (reservation.status.owner == context_.self()) adopted.push_back(reservation.status.plan.id);
  }
  return adopted;
}

void Reservations::GiveUp(const PlanId& plan, const Cause& cause) {
  if (const auto at = reservations_.find(plan); at != reservations_.end()) Stop(at->second, cause);
}

void Reservations::OnNeighborLost(const NodeId& peer, const std::string& detail) {
  std::vector<PlanId> plans;
  for (const auto& [id, reservation] : reservations_) {
    const bool neighbor = AreLinked(reservation.status.plan, reservation.status.stage, peer);
    if (neighbor && reservation.status.state == ReservationState::kReady) plans.push_back(id);
  }
  for (const PlanId& plan : plans) OnStageFailed({plan, {ErrorCode::kDisconnected, detail}, peer});
}

void Reservations::OnTime() {
  ServeWaiting();
  if (context_.options.bugs.no_lease_expiry) return;
  for (auto at = reservations_.begin(); at != reservations_.end();) {
    Reservation& reservation = (at++)->second;
    if (context_.now <= reservation.lease_until) continue;
    Stop(reservation, {.reason = Reason::kOwnerSilent, .node = reservation.status.owner});
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
