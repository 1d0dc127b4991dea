#include "cluster/plan_requests.h"

#include <algorithm>

#include "cluster/give_back.h"
#include "wire/plan.h"

namespace exo::cluster {

using wire::Reason;

void PlanRequests::OnPlanModel(const PlanModel& event) {
  const wire::PlanRequest request{.ticket = event.ticket,
                                  .model = event.model,
                                  .split = event.split,
                                  .context = event.context,
                                  .kv_type = event.kv_type,
                                  .adapters = event.adapters,
                                  .draft = event.draft,
                                  .codec = event.codec,
                                  .use = event.use,
                                  .users = event.users};
  if (desired_.ShapeOf(event.model) != nullptr)
    return Finish(Answer(context_.self(), request, event.without));
  wire::PlanReply refusal{.ticket = event.ticket};
  refusal.cause = {.reason = Reason::kNotHeld, .code = ErrorCode::kNotFound};
  if (asked_.size() >= kMaxAsked) {
    refusal.cause = {
        .reason = Reason::kTooManyCallers, .code = ErrorCode::kOverloaded, .needed = asked_.size()};
    return Finish(refusal);
  }
  for (const NodeId& peer : members_.Sessions()) {
    const wire::NodeRecord* record = members_.RecordOf(peer);
    if (record == nullptr) continue;
    const bool holds =
        std::any_of(record->models.begin(), record->models.end(),
                    [&](const wire::ModelHolding& m) { return m.id == event.model && m.complete; });
    if (!holds) continue;
    asked_[event.ticket] = {peer, context_.now + context_.timers().ensure};
    return context_.SendTo(peer, request);
  }
  Finish(refusal);
}

wire::PlanReply PlanRequests::Answer(const NodeId& from, const wire::PlanRequest& request,
                                     std::span<const NodeId> without) const {
  wire::PlanReply reply{.ticket = request.ticket};
  const ModelShape* shape = desired_.ShapeOf(request.model);
  if (shape == nullptr) {
    reply.cause = {
        .reason = Reason::kNotHeld, .code = ErrorCode::kNotFound, .node = context_.self()};
    return reply;
  }
  const PlanOptions options{.owner = context_.self(),
                            .term = context_.options.incarnation,
                            .prefer = context_.self(),
                            .split = request.split,
                            .use = request.use,
                            .users = request.users,
                            .context = request.context,
                            .kv_type = request.kv_type,
                            .adapters = request.adapters,
                            .draft = request.draft,
                            .codec = request.codec};
  std::vector<PlanNode> nodes = members_.NodesFor({&from, 1});
  std::erase_if(nodes, [&](const PlanNode& node) {
    return std::ranges::find(without, node.id) != without.end();
  });
  for (const wire::InstanceSummary* running : desired_.Replicas(request.model))
    GiveBack(running->plan, nodes);
  const auto choice = MakePlan(*shape, nodes, options);
  reply.ok = choice.has_value();
  if (choice) {
    reply.plan = choice->plan;
    reply.expected = ExpectationOf(*choice);
    reply.rivals = choice->rivals;
    for (const PlanChoice& replica : choice->replicas)
      reply.replicas.push_back({replica.plan, ExpectationOf(replica)});
  } else {
    reply.cause = PlanCause(choice.error(), *shape, nodes, options);
    reply.cause.detail += members_.Withholding();
  }
  return reply;
}

void PlanRequests::OnRequest(const NodeId& from, const wire::PlanRequest& message) {
  context_.SendTo(from, Answer(from, message));
}

void PlanRequests::OnReply(const NodeId& from, const wire::PlanReply& message) {
  const auto at = asked_.find(message.ticket);
  if (at == asked_.end() || at->second.holder != from) return;
  asked_.erase(at);
  const bool valid = Validate(message.plan) &&
                     std::ranges::all_of(message.replicas, [](const wire::PlannedReplica& replica) {
                       return Validate(replica.plan).has_value();
                     });
  if (message.ok && !valid) {
    wire::PlanReply refusal{.ticket = message.ticket};
    refusal.cause = {.reason = Reason::kInvalidPlan, .code = ErrorCode::kInvalid, .node = from};
    return Finish(refusal);
  }
  Finish(message);
}

void PlanRequests::Finish(const wire::PlanReply& reply) {
  if (reply.ok) {
    context_.Emit(
        PlanMade{reply.ticket,
                 wire::InstanceSummary{
                     .plan = reply.plan, .owner = reply.plan.owner, .expected = reply.expected},
                 reply.rivals, reply.replicas});
    return;
  }
  const auto names = [this](const NodeId& node) { return members_.NameOf(node); };
  context_.Emit(PlanMade{reply.ticket, std::unexpected(ErrorOf(reply.cause, nullptr, names))});
}

void PlanRequests::NoAnswer(uint64_t ticket, const NodeId& holder) {
  wire::PlanReply refusal{.ticket = ticket};
  refusal.cause = {.reason = Reason::kNoAnswer, .node = holder};
  asked_.erase(ticket);
  Finish(refusal);
}

void PlanRequests::OnPeerLost(const NodeId& peer) {
  for (const auto& [ticket, asked] : std::map(asked_)) {
    if (asked.holder == peer) NoAnswer(ticket, peer);
  }
}

void PlanRequests::OnTime() {
  for (const auto& [ticket, asked] : std::map(asked_)) {
    if (context_.now > asked.until) NoAnswer(ticket, asked.holder);
  }
}

}  // namespace exo::cluster
