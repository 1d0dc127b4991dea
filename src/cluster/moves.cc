// Models that move: their devices, or the answers that they give at once, have become others than
// they were planned for.
#include <fmt/format.h>

#include <algorithm>

#include "cluster/desired_models.h"
#include "cluster/give_back.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// How often running plans are compared with what their devices are now.
constexpr Time kLookPeriod = std::chrono::seconds(1);

// Whether every device has room for its parts of the plans while the former ones are still there.
bool FitBeside(const std::vector<PlanChoice>& fresh, std::vector<PlanNode> nodes) {
  for (const PlanChoice& one : fresh) {
    for (const wire::StagePlan& stage : one.plan.stages) {
      const auto node = std::ranges::find(nodes, stage.node, &PlanNode::id);
      if (node == nodes.end() || stage.bytes > node->memory_available) return false;
      node->memory_available -= stage.bytes;
    }
  }
  return true;
}

// Whether one of the plans gives the same parts to the same devices.
bool IsAmong(const wire::Plan& plan, const std::vector<wire::Plan>& plans) {
  return std::ranges::any_of(plans,
                             [&](const wire::Plan& other) { return SameDivision(plan, other); });
}

}  // namespace

std::optional<DesiredModels::Running> DesiredModels::RunningOf(const ModelId& model) const {
  Running running;
  if (catalog_.Has(model)) return std::nullopt;  // a duplicate: soon there is one owner
  for (const wire::InstanceSummary* one : owner_.Of(model)) {
    if (one->state != wire::InstanceState::kReady) return std::nullopt;  // a change is under way
    running.plans.push_back(one->plan);
    running.requests += one->active_requests + one->queued_requests;
  }
  if (running.plans.empty()) return std::nullopt;
  return running;
}

void DesiredModels::LookForDrift() {
  if (context_.now < next_look_) return;
  next_look_ = context_.now + kLookPeriod;
  drift_.Keep([&](const ModelId& model) { return owner_.Find(model) != nullptr; });
  for (auto& [model, demand] : demands_) {
    const ModelShape* shape = ShapeOf(model);
    const std::optional<Running> running = RunningOf(model);
    if (shape != nullptr && running) LookForDrift(demand, *shape, *running);
  }
}

void DesiredModels::LookForDrift(Demand& demand, const ModelShape& shape, const Running& running) {
  // Adopted from an owner that is lost: it may have had more.
  if (!drift_.Knows(shape.id) &&
      (demand.options.use == wire::Use::kThroughput || demand.options.users > 1))
    demand.heal_at = context_.now + Backoff(1);
  uint32_t users = drift_.UsersOf(shape.id);
  auto change = drift_.Look(shape, running.plans, members_.PlannerNodes());
  if (const auto others = LookAtLoad(demand, running); others && !change) {
    change = {{}, fmt::format("{} answers at once instead of {}", *others, users)};
    users = *others;
  }
  if (!demand.heal_at) demand.heals = 0;
  const bool heals = demand.heal_at && context_.now >= *demand.heal_at;
  if (heals && !change) change = {{}, "one of its devices was lost"};
  if (!change || !(heals || drift_.MayMove(shape.id))) return;
  if (heals) demand.heal_at.reset();
  const bool changed = MoveIfBetter(demand, shape, running, {*change, users});
  // What the lost one held may not be free yet.
  if (heals && !changed && demand.heals < kMaxHeals)
    demand.heal_at = context_.now + Backoff(++demand.heals);
}

// Who says what the model is for has said it.
std::optional<uint32_t> DesiredModels::LookAtLoad(const Demand& demand, const Running& running) {
  if (demand.options.use != wire::Use::kAuto || demand.options.users > 0) return std::nullopt;
  return drift_.LookAtLoad(running.plans[0].model, running.requests);
}

// As the model was loaded: requests that came since have asked for it whatever its division. What
// is being answered goes on in the next plan, so that its context may not be shorter; nor may that
// of a replica which takes requests as well as one that stays.
PlanOptions DesiredModels::OptionsToMove(const Demand& demand, const Running& running,
                                         uint32_t users) {
  const wire::Plan& plan = running.plans[0];
  PlanOptions options = PlanOptionsOf(demand);
  if (const wire::DesiredModel* record = records_.Find(plan.model)) options.split = record->split;
  options.kv_type = plan.kv_type;
  options.adapters = plan.adapters;
  options.draft = plan.draft;
  options.codec = plan.codec;
  const bool many = users > 1 || options.use == wire::Use::kThroughput;
  if (running.requests > 0 || many) options.context = plan.context;
  // What was loaded for many is for as many as were said, or the planner takes then.
  if (options.use == wire::Use::kAuto && options.users == 0) options.users = users;
  return options;
}

bool DesiredModels::MoveIfBetter(Demand& demand, const ModelShape& shape, const Running& running,
                                 const Occasion& occasion) {
  const std::vector<PlanNode> all = members_.PlannerNodes();
  std::vector<PlanNode> nodes = NodesFor(demand);
  for (const wire::Plan& plan : running.plans) GiveBack(plan, nodes);
  const PlanOptions options = OptionsToMove(demand, running, occasion.users);
  Result<PlanChoice> choice = MakePlan(shape, nodes, options);
  // Where other bits are lost on the way, what is being answered could not go on (ADR 0022): later.
  if (choice && running.requests > 0 &&
      wire::LossOf(choice->plan) != wire::LossOf(running.plans[0]))
    return false;
  // Whatever comes of it: right for what they are now.
  const uint32_t users = choice ? UsersOf(*choice) : occasion.users;
  drift_.Planned(shape.id, all, users);
  if (!choice) return false;
  std::vector<wire::Plan> next;
  for (const PlanChoice& replica : EachReplica(*choice)) next.push_back(replica.plan);
  const auto runs = [&](const wire::Plan& plan) { return IsAmong(plan, running.plans); };
  const auto holds = [&](const NodeId& node) { return Holds(node, shape.id); };
  // A device that takes no part is left at any price, but not for another one of that kind; what
  // only ends costs nothing.
  const bool leaves = UsesUnwilling(running.plans, all) && !UsesUnwilling(next, all);
  const bool moves = leaves || std::ranges::all_of(next, runs) ||
                     IsWorthIt({shape, all, running.plans, next, users, options.use}, holds);
  return moves && Move(demand, {shape, all}, running, *std::move(choice), occasion.change);
}

// What is in both stays. What is left over ends when the new ones are READY, or at once where they
// need its memory; where there are none, when it has answered.
bool DesiredModels::Move(Demand& demand, const Here& here, const Running& running,
                         PlanChoice choice, const Drift::Change& change) {
  const wire::Cause cause{
      .reason = wire::Reason::kMoved, .node = change.node, .detail = change.what};
  std::vector<PlanChoice> fresh = EachReplica(std::move(choice));
  std::vector<wire::Plan> next;
  for (const PlanChoice& replica : fresh) next.push_back(replica.plan);
  std::erase_if(fresh, [&](const PlanChoice& one) { return IsAmong(one.plan, running.plans); });
  std::vector<wire::Plan> former;
  for (const wire::Plan& plan : running.plans) {
    if (!IsAmong(plan, next)) former.push_back(plan);
  }
  if (fresh.empty()) {
    for (const wire::Plan& plan : former) owner_.Drain(plan.id, cause);
    return !former.empty();
  }
  if (!former.empty()) drift_.Moved(demand.options.model);
  demand.placed = true;
  demand.attempts = 0;
  std::vector<Owner::Succession> successions(fresh.size());
  for (size_t i = 0; i < former.size(); ++i) {
    Owner::Succession& one = successions[std::min(i, fresh.size() - 1)];
    one.plans.push_back(former[i].id);
    one.cause = cause;
    if (i < fresh.size()) one.former = FormerOf({here.shape, here.nodes, former[i], fresh[i].plan});
  }
  const bool beside = FitBeside(fresh, here.nodes);
  for (size_t i = 0; !beside && i < former.size(); ++i) owner_.End(former[i].id, cause);
  for (size_t i = 0; i < fresh.size(); ++i)
    owner_.Succeed(std::move(fresh[i]), successions[i], beside);
  return true;
}

}  // namespace exo::cluster
