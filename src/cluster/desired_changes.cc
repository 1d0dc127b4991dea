// What a new record does to instances and to those who wait: unload, make room, keep running.
#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/units.h"
#include "cluster/desired_models.h"
#include "wire/plan.h"

namespace exo::cluster {

using wire::DesiredState;
using wire::Reason;

void DesiredModels::OnRecord(const wire::DesiredModel& record, bool restored) {
  switch (record.state) {
    case DesiredState::kUnloaded:
      owner_.EndModel(record.model, {.reason = Reason::kUnloaded, .code = ErrorCode::kCancelled});
      return RefuseEarlier(record.model, record.version);
    case DesiredState::kOnDemand:
      return OnOnDemand(record);
    case DesiredState::kRunning:
      return WaitForRecord(record, restored);
  }
}

// Callers who knew of the unload asked after it: they get the model all the same.
void DesiredModels::RefuseEarlier(const ModelId& model, const wire::HybridTime& version) {
  const auto at = demands_.find(model);
  if (at == demands_.end()) return;
  Demand& demand = at->second;
  std::erase_if(demand.waiting, [&](const Waiting& waiting) {
    if (waiting.known >= version) return false;
    Reply(waiting, model, {.reason = Reason::kUnloaded, .code = ErrorCode::kCancelled});
    return true;
  });
  if (demand.waiting.empty()) {
    demands_.erase(at);
  } else {
    demand.placed = false;
    demand.retry_at = context_.now;
  }
}

EnsureModel DesiredModels::OptionsOf(const wire::DesiredModel& record) {
  return {.model = record.model,
          .split = record.split,
          .context = record.context,
          .kv_type = record.kv_type,
          .adapters = record.adapters,
          .draft = record.draft,
          .named = record.named,
          .settings_of = record.settings_of,
          .keep_ms = record.keep_ms,
          .codec = record.codec,
          .use = record.use,
          .users = record.users};
}

// Whoever needed the memory saw an idle instance; its owner knows better.
void DesiredModels::OnOnDemand(const wire::DesiredModel& record) {
  const std::vector<const wire::InstanceSummary*> own = owner_.Of(record.model);
  if (own.empty()) return;
  if (std::ranges::any_of(own, [](const wire::InstanceSummary* one) {
        return one->active_requests + one->queued_requests > 0;
      })) {
    wire::DesiredModel again = record;
    again.state = DesiredState::kRunning;
    again.version = records_.NextVersion(record.model);
    records_.Write(again);
    return;
  }
  owner_.EndModel(record.model, {.reason = Reason::kEvicted, .code = ErrorCode::kOverloaded});
}

// A record may come before the summary of its instance, and a restored one before the session with
// the member that runs it.
void DesiredModels::WaitForRecord(const wire::DesiredModel& record, bool restored) {
  if (demands_.contains(record.model) || demands_.size() >= kMaxDemands) return;
  const Timers& timers = context_.timers();
  Demand& demand = demands_[record.model];
  demand.options = OptionsOf(record);
  demand.retry_at =
      context_.now + (restored ? timers.restore : timers.takeover) + context_.Spread();
}

void DesiredModels::OnRevise(const ReviseModel& event) {
  const ModelId& model = event.record.model;
  const wire::DesiredModel* known = records_.Find(model);
  if (known == nullptr || known->state == DesiredState::kUnloaded) return;
  wire::DesiredModel revised = event.record;
  revised.state = known->state;
  revised.version = records_.NextVersion(model);
  if (!records_.Write(revised)) return;
  const auto demand = demands_.find(model);
  if (demand != demands_.end()) demand->second.options = OptionsOf(revised);
}

void DesiredModels::OnUnload(const UnloadModel& event) {
  const bool running = Best(event.model) != nullptr || IsDesired(event.model);
  const wire::DesiredModel* record = records_.Find(event.model);
  const bool known = record != nullptr && record->state != DesiredState::kUnloaded;
  if (!running && !known) {
    context_.Emit(
        UnloadReply{event.ticket, Fail(ErrorCode::kNotFound, "the model is not running")});
    return;
  }
  const wire::DesiredModel unloaded{.model = event.model,
                                    .version = records_.NextVersion(event.model)};
  records_.Write(unloaded);
  unloading_.push_back({event.model, event.ticket, unloaded.version, context_.now});
}

// Answered when the instance is gone and every member has confirmed the record: whatever loads the
// model afterwards, on any node, knows of the unload and is not stopped by it.
bool DesiredModels::AnswerUnload(const Unloading& unloading) {
  const std::vector<NodeId> missing = records_.Unconfirmed(unloading.model, unloading.version);
  const bool replaced = records_.VersionOf(unloading.model) > unloading.version;
  const bool gone = Best(unloading.model) == nullptr || replaced;
  if (missing.empty() && gone) {
    context_.Emit(UnloadReply{unloading.ticket, {}});
    return true;
  }
  if (context_.now - unloading.since < context_.timers().unload) return false;
  std::string names;
  for (const NodeId& node : missing) names += (names.empty() ? "" : ", ") + members_.NameOf(node);
  context_.Emit(UnloadReply{
      unloading.ticket,
      Fail(ErrorCode::kOverloaded,
           "{} has not given the model back yet; its memory is freed when its lease ends",
           names.empty() ? "a device" : names)});
  return true;
}

void DesiredModels::Revive(const ModelId& model) {
  const wire::DesiredModel* record = records_.Find(model);
  if (record == nullptr || record->state != DesiredState::kOnDemand) return;
  wire::DesiredModel again = *record;
  again.state = DesiredState::kRunning;
  again.version = records_.NextVersion(model);
  records_.Write(again);
}

// ---- making room ----

uint64_t DesiredModels::KeepOf(const ModelId& model) const {
  const wire::DesiredModel* record = records_.Find(model);
  return record == nullptr ? 0 : record->keep_ms;
}

// A replica that answers keeps the others: they are there for when more ask.
bool DesiredModels::IsIdle(const ModelId& model) const {
  const bool all = std::ranges::all_of(Replicas(model), [](const wire::InstanceSummary* one) {
    return one->state == wire::InstanceState::kReady &&
           one->active_requests + one->queued_requests == 0;
  });
  const auto demand = demands_.find(model);
  return all && (demand == demands_.end() || demand->second.waiting.empty());
}

// What nobody has asked for as long as its record says gives its memory back; not in the moment
// between an EnsureReply and the request that it was for.
void DesiredModels::EndUnused() {
  std::map<ModelId, Time> idle;  // of all replicas
  owner_.EachIdle([&](const wire::InstanceSummary& summary, Time idle_for) {
    if (summary.state != wire::InstanceState::kReady) return;
    Time& shortest = idle.try_emplace(summary.plan.model, idle_for).first->second;
    shortest = std::min(shortest, idle_for);
  });
  std::vector<wire::Plan> unused;
  for (const auto& [model, idle_for] : idle) {
    const uint64_t keep = KeepOf(model);
    if (keep == 0 || keep == wire::kKeepAlways || !IsIdle(model)) continue;
    if (idle_for < context_.timers().idle) continue;
    // A lead that has begun to answer in this moment says so first.
    if (keep == wire::kKeepUntilIdle) {
      const Time wished = until_idle_since_.try_emplace(model, context_.now).first->second;
      if (context_.now - wished < context_.timers().idle) continue;
    }
    if (static_cast<uint64_t>(idle_for / std::chrono::milliseconds(1)) >= keep)
      unused.push_back(owner_.Find(model)->plan);
  }
  for (const wire::Plan& plan : unused) Evict(plan);
  std::erase_if(until_idle_since_, [&](const auto& wish) {
    return owner_.Find(wish.first) == nullptr || KeepOf(wish.first) != wire::kKeepUntilIdle ||
           !IsIdle(wish.first);
  });
}

std::vector<const wire::InstanceSummary*> DesiredModels::IdleInstances(const ModelId& but) const {
  std::vector<std::pair<Time, const wire::InstanceSummary*>> idle;
  const auto add = [&](const wire::InstanceSummary& summary, Time idle_for) {
    if (summary.plan.model == but || summary.state != wire::InstanceState::kReady ||
        !IsIdle(summary.plan.model))
      return;
    if (KeepOf(summary.plan.model) == wire::kKeepAlways) return;
    if (idle_for >= context_.timers().idle) idle.emplace_back(idle_for, &summary);
  };
  owner_.EachIdle(add);
  catalog_.EachIdle(add);
  std::sort(idle.begin(), idle.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second->plan.id < b.second->plan.id;
  });
  std::vector<const wire::InstanceSummary*> result;
  for (const auto& [unused, summary] : idle) result.push_back(summary);
  return result;
}

// Ends the longest idle instances until the model fits. False: it does not, however many end.
bool DesiredModels::MakeRoom(Demand& demand, const ModelShape& shape, std::vector<PlanNode> nodes,
                             const PlanOptions& options) {
  std::vector<wire::Plan> ended;
  for (const wire::InstanceSummary* idle : IdleInstances(shape.id)) {
    for (const wire::StagePlan& stage : idle->plan.stages) {
      for (PlanNode& node : nodes) {
        if (node.id != stage.node) continue;
        node.memory_available = std::min(node.memory_budget, node.memory_available + stage.bytes);
      }
    }
    ended.push_back(idle->plan);
    if (!MakePlan(shape, nodes, options)) continue;
    for (const wire::Plan& plan : ended) Evict(plan);
    demand.making_room_until = context_.now + context_.timers().making_room;
    demand.retry_at = context_.now + kTickInterval;
    return true;
  }
  return false;
}

std::string DesiredModels::PinnedModels() const {
  std::string names;
  std::set<ModelId> named;
  uint64_t bytes = 0;
  const auto add = [&](const wire::InstanceSummary& summary, Time) {
    if (KeepOf(summary.plan.model) != wire::kKeepAlways) return;
    if (named.insert(summary.plan.model).second)
      names += (names.empty() ? "" : ", ") + summary.plan.model_name;
    for (const wire::StagePlan& stage : summary.plan.stages) bytes += stage.bytes;
  };
  owner_.EachIdle(add);
  catalog_.EachIdle(add);
  if (names.empty()) return names;
  return fmt::format("; pinned models hold {} ({})", FormatSize(bytes), names);
}

bool DesiredModels::EvictOneAt(const NodeId& node, const ModelId& but) {
  for (const wire::InstanceSummary* idle : IdleInstances(but)) {
    if (wire::StageOf(idle->plan, node) < 0) continue;
    Evict(idle->plan);
    return true;
  }
  return false;
}

void DesiredModels::Evict(const wire::Plan& plan) {
  wire::DesiredModel record{.model = plan.model,
                            .context = plan.context,
                            .kv_type = plan.kv_type,
                            .adapters = plan.adapters,
                            .draft = plan.draft,
                            .codec = plan.codec};
  if (const wire::DesiredModel* known = records_.Find(plan.model)) record = *known;
  record.state = DesiredState::kOnDemand;
  record.version = records_.NextVersion(plan.model);
  if (record.keep_ms == wire::kKeepUntilIdle) {
    record.keep_ms = 0;
    record.named &= ~wire::kNamedKeep;
  }
  records_.Write(record);
}

}  // namespace exo::cluster
