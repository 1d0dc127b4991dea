#include <algorithm>

#include "base/check.h"
#include "cluster/requests.h"

namespace exo::cluster {

void LeadRequests::Refuse(const NodeId& to, const wire::Submit& submit, const Error& error) {
  context_.SendTo(to, wire::Finished{.request = submit.request,
                                     .reason = wire::FinishReason::kError,
                                     .code = error.code,
                                     .message = error.message,
                                     .plan = submit.plan});
}

void LeadRequests::OnSubmit(const NodeId& from, wire::Submit message) {
  auto known = requests_.find(message.request);
  // The entry submits it again for another plan: what the former one ended with is answered.
  if (known != requests_.end() && known->second.entry == from && known->second.finished &&
      known->second.plan != message.plan) {
    requests_.erase(known);
    known = requests_.end();
  }
  if (known != requests_.end()) {
    if (known->second.entry != from) {
      return Refuse(from, message, {ErrorCode::kInvalid, "another device uses this request id"});
    }
    if (known->second.plan == message.plan) return Repeat(message.request, known->second);
    // The entry has heard sooner than this node that the former plan has ended.
    OnCancel(from, {message.request, known->second.plan});
  }
  const ReservationStatus* reservation = reservations_.Find(message.plan);
  const bool here = reservation != nullptr && reservation->stage == 0 &&
                    (reservation->state == ReservationState::kReady ||
                     reservation->state == ReservationState::kLoaded);
  if (!here) {
    return Refuse(from, message,
                  {ErrorCode::kDisconnected,
                   fmt::format("plan {} is not running here any more", message.plan.Short())});
  }
  if (requests_.size() >= kMaxRequests) {
    return Refuse(
        from, message,
        {ErrorCode::kOverloaded, fmt::format("{} requests here, the limit", kMaxRequests)});
  }
  if (const auto at = activity_.find(message.plan); at != activity_.end())
    at->second.told.reset();  // however short it is, its end begins a new idle time
  Request& request = requests_[message.request];
  request.entry = from;
  request.plan = message.plan;
  request.held = reservation->state == ReservationState::kLoaded;
  const auto rows = static_cast<uint32_t>(message.prompt.size());
  if (message.prompt_tokens > 0 && message.prompt_tokens < rows)
    request.before = rows - message.prompt_tokens;
  request.generated = request.before;
  request.submit = std::move(message);
  if (!request.held) Run(request);
}

void LeadRequests::Run(Request& request) {
  CHECK(!request.finished && request.emitted.empty());  // a runner gets a request once
  request.held = false;
  const RequestId id = request.submit.request;
  context_.Emit(LeadSubmit{std::exchange(request.submit, {}), request.entry});
  if (request.paused) context_.Emit(LeadPause{request.plan, id, true});
}

void LeadRequests::Repeat(const RequestId& id, const Request& request) {
  const std::vector<TokenId>& all = request.emitted;
  for (size_t first = 0; first < all.size(); first += kTokensPerMessage) {
    const size_t count = std::min(kTokensPerMessage, all.size() - first);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    wire::Tokens part{.request = id,
                      .first_index = request.before + static_cast<uint32_t>(first),
                      .tokens = {begin, begin + static_cast<std::ptrdiff_t>(count)},
                      .plan = request.plan,
                      .cached = request.cached,
                      .logprobs = Part(request.logprobs, all.size(), first, count)};
    if (first + count == all.size()) {
      part.state = request.state;
      part.computed = request.computed;
    }
    part.stages = request.stages;
    context_.SendTo(request.entry, std::move(part));
  }
  if (request.finished) context_.SendTo(request.entry, *request.finished);
}

void LeadRequests::OnCancel(const NodeId& from, const wire::CancelRequest& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || at->second.entry != from || at->second.plan != message.plan) return;
  if (!at->second.finished && !at->second.held)
    context_.Emit(LeadCancel{at->second.plan, message.request});
  requests_.erase(at);
}

void LeadRequests::OnPause(const NodeId& from, const wire::PauseRequest& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || at->second.entry != from || at->second.plan != message.plan) return;
  Request& request = at->second;
  request.paused = message.paused;
  if (!request.finished && !request.held)
    context_.Emit(LeadPause{request.plan, message.request, message.paused});
}

// What the entry said while the session was broken is lost. It repeats the pauses that still hold;
// a request that it has cancelled meanwhile must speak again, to be answered with a cancel.
void LeadRequests::OnPeerUp(const NodeId& entry) {
  for (auto& [id, request] : requests_) {
    if (request.entry != entry || !request.paused) continue;
    request.paused = false;
    if (!request.finished && !request.held) context_.Emit(LeadPause{request.plan, id, false});
  }
}

void LeadRequests::OnEmitted(const LeadEmitted& event) {
  const auto at = requests_.find(event.request);
  if (at == requests_.end() || at->second.finished || at->second.plan != event.plan) return;
  Request& request = at->second;
  if (event.tokens.empty()) {
    return context_.SendTo(request.entry, wire::Tokens{.request = event.request,
                                                       .first_index = request.generated,
                                                       .plan = request.plan,
                                                       .computed = event.computed});
  }
  const uint32_t first = request.generated;
  request.generated += static_cast<uint32_t>(event.tokens.size());
  request.cached = event.cached;
  if (request.entry != context_.self()) {
    request.emitted.insert(request.emitted.end(), event.tokens.begin(), event.tokens.end());
    Append(request.logprobs, event.logprobs);
    request.state = event.state;
    request.computed = event.computed;
    request.stages = event.stages;
  }
  context_.SendTo(request.entry, wire::Tokens{.request = event.request,
                                              .first_index = first,
                                              .tokens = event.tokens,
                                              .plan = request.plan,
                                              .cached = request.cached,
                                              .logprobs = event.logprobs,
                                              .state = event.state,
                                              .stages = event.stages,
                                              .steps = event.steps,
                                              .steps_dropped = event.steps_dropped,
                                              .computed = event.computed});
}

void LeadRequests::OnRunnerQueued(const LeadQueued& event) {
  const auto at = requests_.find(event.request);
  if (at == requests_.end() || at->second.finished || at->second.plan != event.plan) return;
  context_.SendTo(at->second.entry, wire::Queued{event.request, at->second.plan, event.before});
}

void LeadRequests::OnRunnerFinished(const LeadFinished& event) {
  const auto at = requests_.find(event.finished.request);
  if (at == requests_.end() || at->second.finished || at->second.plan != event.finished.plan)
    return;
  at->second.finished = event.finished;
  context_.SendTo(at->second.entry, *at->second.finished);
  at->second.finished_at = context_.now;
  if (at->second.entry == context_.self()) requests_.erase(at);  // nothing can get lost on the way
}

void LeadRequests::OnServing(const PlanId& plan) {
  for (auto& [id, request] : requests_) {
    if (request.plan == plan && request.held) Run(request);
  }
}

void LeadRequests::OnPlanEnded(const PlanId& plan, const Error& error, bool moved) {
  for (auto& [id, request] : requests_) {
    if (request.plan != plan || request.finished) continue;
    request.held = false;
    request.finished = wire::Finished{.request = id,
                                      .reason = wire::FinishReason::kError,
                                      .code = error.code,
                                      .message = error.message,
                                      .generated = request.generated,
                                      .plan = plan,
                                      .moved = moved};
    request.finished_at = context_.now;
    context_.SendTo(request.entry, *request.finished);
  }
}

void LeadRequests::OnEntryLost(const NodeId& entry) {
  for (auto at = requests_.begin(); at != requests_.end();) {
    if (at->second.entry != entry) {
      ++at;
      continue;
    }
    if (!at->second.finished && !at->second.held)
      context_.Emit(LeadCancel{at->second.plan, at->first});
    at = requests_.erase(at);
  }
}

void LeadRequests::OnTime() {
  std::erase_if(requests_, [&](const auto& item) {
    return item.second.finished &&
           context_.now - item.second.finished_at > context_.timers().keep_answer;
  });
  ReportLoad();
}

void LeadRequests::OnLocalLoad(const LocalLoad& event) {
  const auto at = activity_.find(event.plan);
  if (at != activity_.end()) at->second.queued = event.queued;
}

// Only changes are told; the owner counts on from the idle time by itself.
void LeadRequests::ReportLoad() {
  std::map<PlanId, Activity> current;
  for (const ReservationStatus& reservation : reservations_.Status()) {
    if (reservation.stage != 0 || reservation.state != ReservationState::kReady) continue;
    const PlanId& plan = reservation.plan.id;
    const auto known = activity_.find(plan);
    Activity activity = known != activity_.end() ? known->second : Activity{};
    if (known == activity_.end()) activity.idle_since = context_.now;
    const uint32_t unfinished = Unfinished(plan);
    if (unfinished > 0) activity.idle_since = context_.now;
    const uint32_t queued = std::min(activity.queued, unfinished);
    const wire::InstanceLoad load{
        .plan = plan,
        .active_requests = unfinished - queued,
        .queued_requests = queued,
        .idle_ms = static_cast<uint64_t>((context_.now - activity.idle_since) /
                                         std::chrono::milliseconds(1))};
    const bool same = activity.told && activity.told->active_requests == load.active_requests &&
                      activity.told->queued_requests == load.queued_requests;
    if (!same) {
      activity.told = load;
      context_.SendTo(reservation.owner, load);
    }
    current.emplace(plan, std::move(activity));
  }
  activity_ = std::move(current);
}

uint32_t LeadRequests::Unfinished(const PlanId& plan) const {
  return static_cast<uint32_t>(std::count_if(
      requests_.begin(), requests_.end(),
      [&](const auto& item) { return item.second.plan == plan && !item.second.finished; }));
}

size_t LeadRequests::size() const {
  return static_cast<size_t>(std::count_if(requests_.begin(), requests_.end(),
                                           [](const auto& item) { return !item.second.finished; }));
}

}  // namespace exo::cluster
