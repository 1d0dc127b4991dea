// Models that move: their devices have become others than they were planned for, or take no part
// any more.
#include <algorithm>

#include "cluster/desired_models.h"
#include "cluster/give_back.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

// How often running plans are compared with what their devices are now.
constexpr Time kLookPeriod = std::chrono::seconds(1);

bool IsAnswering(const wire::InstanceSummary& running) {
  return running.active_requests + running.queued_requests > 0;
}

}  // namespace

void DesiredModels::LookForDrift() {
  if (context_.now < next_look_) return;
  next_look_ = context_.now + kLookPeriod;
  std::vector<wire::InstanceSummary> ready;  // moving changes the owner's list
  owner_.EachIdle([&](const wire::InstanceSummary& summary, Time) {
    if (summary.state == wire::InstanceState::kReady) ready.push_back(summary);
  });
  drift_.Keep([&](const PlanId& plan) { return owner_.Find(plan) != nullptr; });
  for (const wire::InstanceSummary& summary : ready) {
    const ModelShape* shape = ShapeOf(summary.plan.model);
    const auto demand = demands_.find(summary.plan.model);
    if (shape == nullptr || demand == demands_.end()) continue;
    const auto change = drift_.Look(*shape, summary.plan, members_.PlannerNodes());
    if (change && drift_.MayMove(shape->id)) MoveIfBetter(demand->second, *shape, summary, *change);
  }
}

// As the model was loaded: requests that came since have asked for it whatever its division. What
// is being answered goes on in the next plan, so that its context may not be shorter.
PlanOptions DesiredModels::OptionsToMove(const Demand& demand,
                                         const wire::InstanceSummary& running) {
  PlanOptions options = PlanOptionsOf(demand);
  if (const wire::DesiredModel* record = records_.Find(running.plan.model))
    options.split = record->split;
  options.kv_type = running.plan.kv_type;
  options.adapters = running.plan.adapters;
  options.draft = running.plan.draft;
  options.codec = running.plan.codec;
  if (IsAnswering(running)) options.context = running.plan.context;
  return options;
}

void DesiredModels::MoveIfBetter(Demand& demand, const ModelShape& shape,
                                 const wire::InstanceSummary& running,
                                 const Drift::Change& change) {
  const std::vector<PlanNode> all = members_.PlannerNodes();
  std::vector<PlanNode> nodes = NodesFor(demand);
  GiveBack(running.plan, nodes);
  Result<PlanChoice> choice = MakePlan(shape, nodes, OptionsToMove(demand, running));
  // Where other bits are lost on the way, what is being answered could not go on (ADR 0022): later.
  if (choice && IsAnswering(running) && wire::LossOf(choice->plan) != wire::LossOf(running.plan))
    return;
  drift_.Planned(running.plan.id, all);  // whatever comes of it: right for what they are now
  if (!choice || SameDivision(choice->plan, running.plan)) return;
  const auto holds = [&](const NodeId& node) { return Holds(node, shape.id); };
  // A device that takes no part is left at any price, but not for another one of that kind.
  const bool leaves = UsesUnwilling(running.plan, all) && !UsesUnwilling(choice->plan, all);
  if (!leaves && !IsWorthIt({shape, all, running.plan, choice->plan}, holds)) return;
  drift_.Moved(shape.id);
  drift_.Planned(choice->plan.id, all);
  demand.placed = true;
  demand.attempts = 0;
  owner_.Replace(running.plan.id, *std::move(choice),
                 {.reason = wire::Reason::kMoved, .node = change.node, .detail = change.what});
}

}  // namespace exo::cluster
