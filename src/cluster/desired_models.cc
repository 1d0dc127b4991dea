#include "cluster/desired_models.h"

#include <algorithm>

#include "base/check.h"

namespace exo::cluster {

using wire::DesiredState;
using wire::Reason;

void DesiredModels::SetShapes(std::vector<ModelShape> shapes) {
  shapes_.clear();
  for (ModelShape& shape : shapes) shapes_.insert_or_assign(shape.id, std::move(shape));
  for (const wire::DesiredModel& record : records_.All()) {
    if (record.state == DesiredState::kRunning && !demands_.contains(record.model))
      WaitForRecord(record, true);
  }
}

const ModelShape* DesiredModels::ShapeOf(const ModelId& model) const {
  const auto at = shapes_.find(model);
  return at == shapes_.end() ? nullptr : &at->second;
}

const wire::InstanceSummary* DesiredModels::Best(const ModelId& model) const {
  const wire::InstanceSummary* own = owner_.Find(model);
  const wire::InstanceSummary* other = catalog_.Find(model);
  if (own == nullptr || other == nullptr) return own != nullptr ? own : other;
  return Preferred(*own, *other) ? own : other;
}

std::vector<const wire::InstanceSummary*> DesiredModels::Replicas(const ModelId& model) const {
  const wire::InstanceSummary* best = Best(model);
  if (best == nullptr) return {};
  if (best->owner == context_.self()) return owner_.Of(model);
  std::vector<const wire::InstanceSummary*> all = catalog_.Of(model);
  std::erase_if(all, [&](const wire::InstanceSummary* one) { return one->owner != best->owner; });
  return all;
}

bool DesiredModels::IsDesired(const ModelId& model) const {
  const wire::DesiredModel* record = records_.Find(model);
  return demands_.contains(model) || (record != nullptr && record->state == DesiredState::kRunning);
}

DesiredModels::Demand* DesiredModels::DemandFor(const ModelId& model) {
  if (!demands_.contains(model) && demands_.size() >= kMaxDemands) return nullptr;
  Demand& demand = demands_[model];
  if (demand.waiting.empty() && !demand.placed)
    demand.retry_at = context_.now;  // somebody waits now: no back-off
  return &demand;
}

void DesiredModels::OnEnsure(const EnsureModel& event) {
  const Waiting waiting{
      .local = true, .ticket = event.ticket, .known = records_.VersionOf(event.model)};
  Demand* demand = DemandFor(event.model);
  if (demand == nullptr || demand->waiting.size() >= kMaxWaiting) {
    return Reply(waiting, event.model,
                 {.reason = Reason::kTooManyCallers,
                  .code = ErrorCode::kOverloaded,
                  .needed = demand == nullptr ? kMaxDemands : kMaxWaiting});
  }
  demand->options = event;
  demand->options.settings_of = context_.self();
  const wire::DesiredModel* record = records_.Find(event.model);
  if (record != nullptr && record->state != DesiredState::kUnloaded) {
    if ((event.named & wire::kNamedAdapters) == 0) demand->options.adapters = record->adapters;
    if (!event.draft) demand->options.draft = record->draft;
    if (event.use == wire::Use::kAuto && event.users == 0) {
      demand->options.use = record->use;
      demand->options.users = record->users;
    }
    if ((event.named & wire::kNamedKeep) == 0) demand->options.keep_ms = record->keep_ms;
    if (record->keep_ms != demand->options.keep_ms && record->state == DesiredState::kRunning)
      KeepFor(*record, event.keep_ms);
    demand->options.named |= record->named;
    demand->options.settings_of = record->settings_of;
  }
  demand->waiting.push_back(waiting);
  Pursue(*demand);
}

// Of a model that is known already: for those who ask later as well.
void DesiredModels::KeepFor(const wire::DesiredModel& known, uint64_t keep_ms) {
  wire::DesiredModel record = known;
  record.keep_ms = keep_ms;
  record.named |= wire::kNamedKeep;
  record.version = records_.NextVersion(record.model);
  records_.Write(record);
}

void DesiredModels::OnRemoteEnsure(const NodeId& from, const wire::EnsureInstance& message) {
  const Waiting waiting{.asker = from, .known = message.known};
  const wire::DesiredModel* record = records_.Find(message.model);
  if (record != nullptr && record->state == DesiredState::kUnloaded &&
      record->version > message.known) {
    return Reply(waiting, message.model,
                 {.reason = Reason::kUnloaded, .code = ErrorCode::kCancelled});
  }
  // Never passed on: the asker chose us by a record that was out of date, and chooses again.
  if (!shapes_.contains(message.model)) {
    return Reply(
        waiting, message.model,
        {.reason = Reason::kNotHeld, .code = ErrorCode::kNotFound, .node = context_.self()});
  }
  Demand* demand = DemandFor(message.model);
  if (demand == nullptr) {
    return Reply(
        waiting, message.model,
        {.reason = Reason::kTooManyCallers, .code = ErrorCode::kOverloaded, .needed = kMaxDemands});
  }
  demand->options = {.model = message.model,
                     .split = message.split,
                     .context = message.context,
                     .kv_type = message.kv_type,
                     .adapters = message.adapters,
                     .draft = message.draft,
                     .named = message.named,
                     .settings_of = message.settings_of,
                     .keep_ms = message.keep_ms,
                     .codec = message.codec,
                     .use = message.use,
                     .users = message.users};
  std::erase_if(demand->waiting, [&](const Waiting& w) { return !w.local && w.asker == from; });
  if (demand->waiting.size() < kMaxWaiting) demand->waiting.push_back(waiting);
  Pursue(*demand);
}

// Called often: does what is needed to have the model running, at most one thing at a time.
void DesiredModels::Pursue(Demand& demand) {
  if (const wire::InstanceSummary* best = Best(demand.options.model))
    return OnPlaced(demand, *best);
  demand.placed = false;
  if (context_.now < demand.retry_at) return;
  if (const ModelShape* shape = ShapeOf(demand.options.model)) {
    Place(demand, *shape);
  } else if (!demand.waiting.empty()) {
    AskHolder(demand);
  }
}

void DesiredModels::OnPlaced(Demand& demand, const wire::InstanceSummary& best) {
  demand.placed = true;
  demand.asked = NodeId{};
  if (best.state != wire::InstanceState::kReady) return;
  demand.attempts = 0;
  const wire::DesiredModel* record = records_.Find(best.plan.model);
  const bool kept = record != nullptr && record->state == DesiredState::kRunning;
  // A newer record (of this very moment, perhaps) has its own say.
  if (best.owner == context_.self() && !kept &&
      demand.intent > records_.VersionOf(best.plan.model)) {
    records_.Write({.model = best.plan.model,
                    .version = demand.intent,
                    .state = DesiredState::kRunning,
                    .split = demand.options.split,
                    .context = best.plan.context,
                    .kv_type = best.plan.kv_type,
                    .adapters = best.plan.adapters,
                    .draft = best.plan.draft,
                    .named = demand.options.named,
                    .settings_of = demand.options.settings_of,
                    .keep_ms = demand.options.keep_ms,
                    .codec = demand.options.codec,
                    .use = demand.options.use,
                    .users = demand.options.users});
  }
  for (const Waiting& waiting : std::exchange(demand.waiting, {})) {
    if (waiting.local) context_.Emit(EnsureReply{waiting.ticket, best});
  }
}

PlanOptions DesiredModels::PlanOptionsOf(const Demand& demand) {
  return {.owner = context_.self(),
          .term = context_.options.incarnation,
          .nonce = context_.rng.Next(),
          .prefer = context_.self(),
          .split = demand.options.split,
          .use = demand.options.use,
          .users = demand.options.users,
          .context = demand.options.context,
          .kv_type = demand.options.kv_type,
          .adapters = demand.options.adapters,
          .draft = demand.options.draft,
          .codec = demand.options.codec};
}

std::vector<PlanNode> DesiredModels::NodesFor(const Demand& demand) const {
  std::vector<NodeId> asking;
  for (const Waiting& waiting : demand.waiting) asking.push_back(waiting.asker);
  return members_.NodesFor(asking);
}

void DesiredModels::Place(Demand& demand, const ModelShape& shape) {
  const PlanOptions options = PlanOptionsOf(demand);
  std::vector<PlanNode> nodes = NodesFor(demand);
  Result<PlanChoice> choice = MakePlan(shape, nodes, options);
  if (choice) {
    drift_.Planned(shape.id, members_.PlannerNodes(), UsersOf(*choice));
    demand.placed = true;
    demand.intent = records_.NextVersion(shape.id);
    demand.heal_at.reset();
    return StartAll(*std::move(choice));
  }
  if (!demand.waiting.empty() && MakeRoom(demand, shape, nodes, options)) return;
  wire::Cause cause = PlanCause(choice.error(), shape, nodes, options);
  cause.detail += PinnedModels() + members_.Withholding();
  // Memory that is just being freed, or held by a model that is soon idle, counts as taken until
  // its node says otherwise: worth another try.
  for (PlanNode& node : nodes) node.memory_available = node.memory_budget;
  const bool could_fit = MakePlan(shape, nodes, options).has_value();
  if (could_fit && context_.now < demand.making_room_until) {
    demand.retry_at = context_.now + kTickInterval;
    return;
  }
  Failed(demand, cause, could_fit);
}

void DesiredModels::StartAll(PlanChoice choice) {
  for (PlanChoice& replica : EachReplica(std::move(choice))) owner_.Start(std::move(replica));
}

void DesiredModels::AskHolder(Demand& demand) {
  if (!demand.asked.IsZero()) {
    if (members_.IsAlive(demand.asked) && context_.now < demand.asked_until) return;
    const NodeId silent = std::exchange(demand.asked, NodeId{});
    return Failed(demand, {.reason = Reason::kNoAnswer, .node = silent}, true);
  }
  const NodeId holder = HolderOf(demand.options.model);
  if (holder.IsZero())
    return Failed(demand, {.reason = Reason::kNotHeld, .code = ErrorCode::kNotFound}, false);
  demand.asked = holder;
  demand.asked_until = context_.now + context_.timers().ensure;
  context_.SendTo(holder, wire::EnsureInstance{.model = demand.options.model,
                                               .split = demand.options.split,
                                               .context = demand.options.context,
                                               .kv_type = demand.options.kv_type,
                                               .known = records_.VersionOf(demand.options.model),
                                               .adapters = demand.options.adapters,
                                               .draft = demand.options.draft,
                                               .named = demand.options.named,
                                               .settings_of = demand.options.settings_of,
                                               .keep_ms = demand.options.keep_ms,
                                               .codec = demand.options.codec,
                                               .use = demand.options.use,
                                               .users = demand.options.users});
}

NodeId DesiredModels::HolderOf(const ModelId& model) const {
  for (const NodeId& peer : members_.Sessions()) {
    if (Holds(peer, model)) return peer;
  }
  return NodeId{};
}

bool DesiredModels::Holds(const NodeId& node, const ModelId& model) const {
  const wire::NodeRecord* record = members_.RecordOf(node);
  return record != nullptr &&
         std::ranges::any_of(record->models, [&](const wire::ModelHolding& holding) {
           return holding.id == model && holding.complete;
         });
}

bool DesiredModels::CouldPlace(const ModelId& model) const {
  if (Best(model) != nullptr) return true;
  const ModelShape* shape = ShapeOf(model);
  if (shape == nullptr) return !HolderOf(model).IsZero();
  PlanOptions options{.owner = context_.self(), .prefer = context_.self()};
  if (const wire::DesiredModel* record = records_.Find(model)) {
    options.context = record->context;
    options.kv_type = record->kv_type;
    options.adapters = record->adapters;
    options.draft = record->draft;
    options.codec = record->codec;
  }
  std::vector<PlanNode> nodes = members_.NodesFor({});
  for (PlanNode& node : nodes) node.memory_available = node.memory_budget;  // may be given back
  return MakePlan(*shape, nodes, options).has_value();
}

Time DesiredModels::Backoff(int attempts) const {
  const Time wait =
      context_.timers().backoff * (int64_t{1} << std::min(std::max(attempts - 1, 0), 10));
  return std::min(wait, context_.timers().max_backoff);
}

// One attempt ended without an instance. Callers are refused after some attempts, or at once when
// trying again cannot help; a model that is to be kept running is retried indefinitely.
void DesiredModels::Failed(Demand& demand, const wire::Cause& cause, bool retry) {
  demand.placed = false;
  ++demand.attempts;
  demand.retry_at = context_.now + Backoff(demand.attempts);
  if (retry && demand.attempts < kMaxAttempts) return;
  Refuse(demand, cause);
}

void DesiredModels::Refuse(Demand& demand, const wire::Cause& cause) {
  for (const Waiting& waiting : std::exchange(demand.waiting, {}))
    Reply(waiting, demand.options.model, cause);
  demand.asked = NodeId{};
}

void DesiredModels::Reply(const Waiting& waiting, const ModelId& model, const wire::Cause& cause) {
  if (waiting.local) {
    context_.Emit(EnsureReply{waiting.ticket, std::unexpected(ErrorOf(cause, nullptr, Names()))});
  } else {
    context_.SendTo(waiting.asker, wire::EnsureRefused{model, cause});
  }
}

void DesiredModels::OnRefused(const NodeId& from, const wire::EnsureRefused& message) {
  const auto at = demands_.find(message.model);
  if (at == demands_.end() || at->second.asked != from) return;
  at->second.asked = NodeId{};
  Failed(at->second, message.cause, false);
}

void DesiredModels::OnOwnGone(const Owner::Gone& gone) {
  const auto at = demands_.find(gone.plan.model);
  if (at == demands_.end()) return;
  Demand& demand = at->second;
  // The record has said what becomes of those who wait.
  if (gone.cause.reason == Reason::kUnloaded || gone.cause.reason == Reason::kEvicted) return;
  if (Best(gone.plan.model) != nullptr) {  // a duplicate took over, or the next plan, or replicas
    if (!wire::MakesWay(gone.cause.reason) && owner_.Find(gone.plan.model) != nullptr)
      demand.heal_at = context_.now + Backoff(++demand.heals);
    return;
  }
  if (gone.cause.reason == Reason::kNoRoom && EvictOneAt(gone.cause.node, gone.plan.model)) {
    demand.placed = false;
    demand.retry_at = context_.now + kTickInterval;
    return;
  }
  const bool retry =
      gone.cause.code == ErrorCode::kOverloaded || gone.cause.code == ErrorCode::kDisconnected;
  if (gone.was_ready) demand.attempts = 0;
  Failed(demand, gone.cause, retry);
}

void DesiredModels::OnOtherGone(const Catalog::Gone& gone) {
  const auto at = demands_.find(gone.plan.model);
  if (at == demands_.end()) return;
  if (gone.cause.reason == Reason::kUnloaded || gone.cause.reason == Reason::kEvicted) return;
  if (Best(gone.plan.model) != nullptr) return;
  // Its owner plans again; others only when it does not. The spread keeps two of them from starting
  // at once.
  const Time wait =
      members_.IsAlive(gone.owner) ? context_.timers().takeover : context_.timers().backoff;
  at->second.placed = false;
  at->second.retry_at = std::max(at->second.retry_at, context_.now + wait + context_.Spread());
}

void DesiredModels::OnTime() {
  EndUnused();
  LookForDrift();
  std::erase_if(unloading_, [&](const Unloading& unloading) { return AnswerUnload(unloading); });
  for (auto at = demands_.begin(); at != demands_.end();) {
    const wire::DesiredModel* record = records_.Find(at->first);
    const bool kept = record != nullptr && record->state == DesiredState::kRunning;
    const bool placed = Best(at->first) != nullptr;
    if (kept || placed || !at->second.waiting.empty()) {
      Pursue((at++)->second);
    } else {
      at = demands_.erase(at);
    }
  }
}

}  // namespace exo::cluster
