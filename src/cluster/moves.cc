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

uint32_t RequestsOf(const wire::InstanceSummary& running) {
  return running.active_requests + running.queued_requests;
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
    uint32_t users = drift_.UsersOf(summary.plan.id);
    auto change = drift_.Look(*shape, summary.plan, members_.PlannerNodes());
    if (const auto others = LookAtLoad(demand->second, summary); others && !change) {
      change = {{}, fmt::format("{} answers at once instead of {}", *others, users)};
      users = *others;
    }
    if (change && drift_.MayMove(shape->id))
      MoveIfBetter(demand->second, *shape, summary, {*change, users});
  }
}

// Who says what the model is for has said it.
std::optional<uint32_t> DesiredModels::LookAtLoad(const Demand& demand,
                                                  const wire::InstanceSummary& running) {
  if (demand.options.use != wire::Use::kAuto) return std::nullopt;
  return drift_.LookAtLoad(running.plan.id, RequestsOf(running));
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
  if (RequestsOf(running) > 0) options.context = running.plan.context;
  return options;
}

void DesiredModels::MoveIfBetter(Demand& demand, const ModelShape& shape,
                                 const wire::InstanceSummary& running, const Occasion& occasion) {
  const std::vector<PlanNode> all = members_.PlannerNodes();
  std::vector<PlanNode> nodes = NodesFor(demand);
  GiveBack(running.plan, nodes);
  PlanOptions options = OptionsToMove(demand, running);
  // What was loaded for many is for as many as the planner takes then.
  if (options.use == wire::Use::kAuto) options.users = occasion.users;
  Result<PlanChoice> choice = MakePlan(shape, nodes, options);
  // Where other bits are lost on the way, what is being answered could not go on (ADR 0022): later.
  if (choice && RequestsOf(running) > 0 && wire::LossOf(choice->plan) != wire::LossOf(running.plan))
    return;
  // Whatever comes of it: right for what they are now.
  drift_.Planned(running.plan.id, all, occasion.users);
  if (!choice || SameDivision(choice->plan, running.plan)) return;
  const auto holds = [&](const NodeId& node) { return Holds(node, shape.id); };
  // A device that takes no part is left at any price, but not for another one of that kind.
  const bool leaves = UsesUnwilling(running.plan, all) && !UsesUnwilling(choice->plan, all);
  if (!leaves && !IsWorthIt({shape, all, running.plan, choice->plan, occasion.users}, holds))
    return;
  drift_.Moved(shape.id);
  drift_.Planned(choice->plan.id, all, occasion.users);
  demand.placed = true;
  demand.attempts = 0;
  owner_.Replace(running.plan.id, *std::move(choice),
                 {.reason = wire::Reason::kMoved,
                  .node = occasion.change.node,
                  .detail = occasion.change.what});
}

}  // namespace exo::cluster
