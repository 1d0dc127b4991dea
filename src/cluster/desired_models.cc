#include "cluster/desired_models.h"

#include <algorithm>

namespace exo::cluster {

void DesiredModels::SetShapes(std::vector<ModelShape> shapes) {
  shapes_.clear();
  for (ModelShape& shape : shapes) shapes_.insert_or_assign(shape.id, std::move(shape));
}

const wire::InstanceSummary* DesiredModels::Best(const ModelId& model) const {
  const wire::InstanceSummary* own = owner_.Find(model);
  const wire::InstanceSummary* other = catalog_.Find(model);
  if (own == nullptr || other == nullptr) return own != nullptr ? own : other;
  return Preferred(*own, *other) ? own : other;
}

void DesiredModels::OnEnsure(const EnsureModel& event) {
  unloaded_until_.erase(event.model);
  DesiredModel& desired = desired_[event.model];
  if (desired.waiting.size() >= kMaxWaiting) {
    context_.Emit(EnsureReply{event.ticket,
                              Fail(ErrorCode::kOverloaded, "{} callers wait for this model already",
                                   desired.waiting.size())});
    return;
  }
  if (desired.waiting.empty() && !desired.placed)
    desired.retry_at = context_.now;  // somebody waits now: no back-off
  desired.options = event;
  desired.waiting.push_back({.local = true, .ticket = event.ticket});
  Pursue(desired);
}

void DesiredModels::OnRemoteEnsure(const NodeId& from, const wire::EnsureInstance& message) {
  DesiredModel& desired = desired_[message.model];
  if (desired.waiting.empty() && !desired.placed) desired.retry_at = context_.now;
  desired.options = {.model = message.model,
                     .spread = message.spread,
                     .context = message.context,
                     .kv_type = message.kv_type};
  const bool known = std::any_of(desired.waiting.begin(), desired.waiting.end(),
                                 [&](const Waiting& w) { return !w.local && w.asker == from; });
  if (!known && desired.waiting.size() < kMaxWaiting) desired.waiting.push_back({.asker = from});
  if (unloaded_until_.contains(message.model)) return ForgetUnloaded(message.model);
  if (shapes_.contains(message.model)) return Pursue(desired);
  // Never passed on: the asker chose us by a record that was out of date, and chooses again.
  Forget(message.model,
         {ErrorCode::kNotFound, fmt::format("{} does not hold the model", members_.self().name)});
}

// Called often: does what is needed to have the model running, at most one thing at a time.
void DesiredModels::Pursue(DesiredModel& desired) {
  const wire::InstanceSummary* best = Best(desired.options.model);
  if (best != nullptr) {
    desired.placed = true;
    desired.asked = NodeId{};
    if (best->state != wire::InstanceState::kReady) return;
    desired.was_ready = true;
    desired.attempts = 0;
    for (const Waiting& waiting : std::exchange(desired.waiting, {})) {
      if (waiting.local) context_.Emit(EnsureReply{waiting.ticket, *best});
    }
    return;
  }
  desired.placed = false;
  if (context_.now < desired.retry_at) return;
  const auto shape = shapes_.find(desired.options.model);
  if (shape != shapes_.end()) {
    Place(desired, shape->second);
  } else {
    AskHolder(desired);
  }
}

void DesiredModels::Place(DesiredModel& desired, const ModelShape& shape) {
  const PlanOptions options{.owner = context_.self(),
                            .term = context_.options.incarnation,
                            .nonce = context_.rng.Next(),
                            .prefer = context_.self(),
                            .spread = desired.options.spread,
                            .context = desired.options.context,
                            .kv_type = desired.options.kv_type};
  std::vector<PlanNode> nodes = members_.PlannerNodes();
  Result<PlanChoice> choice = MakePlan(shape, nodes, options);
  if (choice) {
    desired.placed = true;
    return owner_.Start(*std::move(choice));
  }
  // Memory that is just being freed counts as taken until its node says otherwise: worth another
  // try.
  for (PlanNode& node : nodes) node.memory_available = node.memory_budget;
  const bool could_fit = MakePlan(shape, nodes, options).has_value();
  Failed(desired, choice.error(), could_fit);
}

void DesiredModels::AskHolder(DesiredModel& desired) {
  if (!desired.asked.IsZero()) {
    if (members_.IsAlive(desired.asked) && context_.now < desired.asked_until) return;
    const std::string name = members_.NameOf(desired.asked);
    desired.asked = NodeId{};
    return Failed(desired, {ErrorCode::kDisconnected, fmt::format("{} did not answer", name)},
                  true);
  }
  for (const NodeId& peer : members_.Sessions()) {
    const wire::NodeRecord* record = members_.RecordOf(peer);
    if (record == nullptr) continue;
    const bool holds = std::any_of(
        record->models.begin(), record->models.end(),
        [&](const wire::ModelHolding& m) { return m.id == desired.options.model && m.complete; });
    if (!holds) continue;
    desired.asked = peer;
    desired.asked_until = context_.now + context_.timers().ensure;
    context_.SendTo(peer, wire::EnsureInstance{.model = desired.options.model,
                                               .spread = desired.options.spread,
                                               .context = desired.options.context,
                                               .kv_type = desired.options.kv_type});
    return;
  }
  Failed(desired,
         {ErrorCode::kNotFound,
          fmt::format("no reachable device holds model {}", desired.options.model.Short())},
         false);
}

Time DesiredModels::Backoff(int attempts) const {
  const Time wait =
      context_.timers().backoff * (int64_t{1} << std::min(std::max(attempts - 1, 0), 10));
  return std::min(wait, context_.timers().max_backoff);
}

// One attempt ended without an instance. A desired that once came true is kept for ever; a new one
// is refused after some attempts, or at once when trying again cannot help.
void DesiredModels::Failed(DesiredModel& desired, const Error& error, bool retry) {
  desired.placed = false;
  ++desired.attempts;
  desired.retry_at = context_.now + Backoff(desired.attempts);
  if (retry && desired.attempts < kMaxAttempts) return;
  Refuse(desired, error);
}

void DesiredModels::Refuse(DesiredModel& desired, const Error& error) {
  for (const Waiting& waiting : std::exchange(desired.waiting, {})) {
    if (waiting.local) {
      context_.Emit(EnsureReply{waiting.ticket, std::unexpected(error)});
    } else {
      wire::InstanceSummary refusal{.state = wire::InstanceState::kGone, .detail = error.message};
      refusal.plan.model = desired.options.model;
      refusal.plan.owner = context_.self();
      context_.SendTo(waiting.asker, std::move(refusal));
    }
  }
  desired.asked = NodeId{};
}

void DesiredModels::Forget(const ModelId& model, const Error& error) {
  const auto at = desired_.find(model);
  if (at == desired_.end()) return;
  Refuse(at->second, error);
  desired_.erase(at);
}

void DesiredModels::ForgetUnloaded(const ModelId& model) {
  unloaded_until_[model] = context_.now + kUnloadHolds;
  Forget(model, {ErrorCode::kCancelled, kUnloadReason});
}

void DesiredModels::OnRefusal(const NodeId& from, const wire::InstanceSummary& summary) {
  if (summary.detail == kUnloadReason) return ForgetUnloaded(summary.plan.model);
  const auto at = desired_.find(summary.plan.model);
  if (at == desired_.end() || at->second.asked != from) return;
  at->second.asked = NodeId{};
  Failed(at->second, {ErrorCode::kOverloaded, summary.detail}, false);
}

void DesiredModels::OnOwnGone(const Owner::Gone& gone) {
  if (gone.error.message == kUnloadReason) return ForgetUnloaded(gone.plan.model);
  const auto at = desired_.find(gone.plan.model);
  if (at == desired_.end()) return;
  if (Best(gone.plan.model) != nullptr) return;  // a duplicate took over
  const bool retry =
      gone.error.code == ErrorCode::kOverloaded || gone.error.code == ErrorCode::kDisconnected;
  if (gone.was_ready) at->second.attempts = 0;
  Failed(at->second, gone.error, retry);
}

void DesiredModels::OnOtherGone(const Catalog::Gone& gone) {
  const auto at = desired_.find(gone.plan.model);
  if (at == desired_.end()) return;
  if (gone.reason == kUnloadReason) return ForgetUnloaded(gone.plan.model);
  if (Best(gone.plan.model) != nullptr) return;
  // Its owner plans again; others only when it does not. The spread keeps two of them from starting
  // at once.
  const Time spread = std::chrono::milliseconds(context_.rng.Below(1500));
  const Time wait =
      members_.IsAlive(gone.plan.owner) ? context_.timers().suspect * 2 : context_.timers().backoff;
  at->second.placed = false;
  at->second.retry_at = std::max(at->second.retry_at, context_.now + wait + spread);
}

void DesiredModels::OnUnload(const UnloadModel& event) {
  const bool asked = desired_.contains(event.model);
  ForgetUnloaded(event.model);
  bool found = owner_.Unload(event.model);
  for (const wire::InstanceSummary& summary : catalog_.All()) {
    if (summary.plan.model != event.model) continue;
    found = true;
    context_.SendTo(summary.plan.owner, wire::Release{summary.plan.id, kUnloadReason});
  }
  // Nodes that desired for the model while it is not running must hear of it, too.
  wire::InstanceSummary unloaded{.state = wire::InstanceState::kGone, .detail = kUnloadReason};
  unloaded.plan.model = event.model;
  unloaded.plan.owner = context_.self();
  for (const NodeId& peer : members_.Sessions()) context_.SendTo(peer, unloaded);
  if (found || asked) {
    unloading_.push_back({event.model, event.ticket, context_.now});
  } else {
    context_.Emit(
        UnloadReply{event.ticket, Fail(ErrorCode::kNotFound, "the model is not running")});
  }
}

// Answered when the model is gone and every node has heard of it: a load that follows the answer,
// on any node, is then never taken for one that the unload had to stop.
bool DesiredModels::AnswerUnload(const Unloading& unloading) {
  const Time passed = context_.now - unloading.since;
  if (passed < kUnloadAnswer) return false;
  if (Best(unloading.model) == nullptr || desired_.contains(unloading.model)) {
    context_.Emit(UnloadReply{unloading.ticket, {}});
    return true;
  }
  if (passed < kUnloadLasts) return false;
  context_.Emit(UnloadReply{unloading.ticket, Fail(ErrorCode::kOverloaded,
                                                   "a device has not let go of the model yet; it "
                                                   "is freed when its lease ends")});
  return true;
}

void DesiredModels::OnTime() {
  std::erase_if(unloading_, [&](const Unloading& unloading) { return AnswerUnload(unloading); });
  std::erase_if(unloaded_until_, [&](const auto& item) { return item.second < context_.now; });
  std::vector<ModelId> hopeless;
  for (auto& [model, desired] : desired_) {
    Pursue(desired);
    // Refused before it ever ran: nobody waits, nobody remembers.
    if (!desired.was_ready && desired.waiting.empty() && !desired.placed) hopeless.push_back(model);
  }
  for (const ModelId& model : hopeless) desired_.erase(model);
}

}  // namespace exo::cluster
