#include <algorithm>

#include "base/check.h"
#include "cluster/requests.h"
#include "wire/plan.h"

namespace exo::cluster {

void EntryRequests::Finish(const RequestId& id, wire::Finished finished) {
  finished.request = id;
  requests_.erase(id);
  context_.Emit(RequestFinished{std::move(finished)});
}

void EntryRequests::FinishWithError(const RequestId& id, ErrorCode code, std::string message) {
  const auto at = requests_.find(id);
  const size_t generated = at == requests_.end() ? 0 : at->second.emitted.size();
  Finish(id, {.reason = wire::FinishReason::kError,
              .code = code,
              .message = std::move(message),
              .generated = static_cast<uint32_t>(generated)});
}

void EntryRequests::OnSubmit(SubmitLocal event) {
  const RequestId id = event.submit.request;
  if (requests_.contains(id)) return;  // the answer to the first one is the answer
  if (requests_.size() >= kMaxRequests) {
    return FinishWithError(id, ErrorCode::kOverloaded,
                           fmt::format("{} requests are open, the limit", kMaxRequests));
  }
  if (desired_.Best(event.model) == nullptr && !desired_.IsDesired(event.model)) {
    return FinishWithError(id, ErrorCode::kNotFound, "the model is not running");
  }
  Request& request = requests_[id];
  request.submit = std::move(event.submit);
  request.model = event.model;
  request.unplaced_since = context_.now;
  TryDispatch(request);
}

bool EntryRequests::TryDispatch(Request& request) {
  const wire::InstanceSummary* best = desired_.Best(request.model);
  if (best == nullptr) return false;
  request.unplaced_since = context_.now;
  if (best->state != wire::InstanceState::kReady || !members_.IsAlive(best->plan.stages[0].node))
    return false;
  CHECK(!request.active && request.emitted.empty());  // a request is dispatched once
  request.active = true;
  request.plan = best->plan;
  request.submit.plan = best->plan.id;
  SendToLead(request);
  return true;
}

// The one copy of the prompt: it stays here in case the lead is lost.
void EntryRequests::SendToLead(const Request& request) {
  context_.SendTo(request.lead(), request.submit);
  if (request.paused) {
    context_.SendTo(request.lead(),
                    wire::PauseRequest{request.submit.request, request.plan.id, true});
  }
}

void EntryRequests::OnCancel(const CancelLocal& event) {
  const auto at = requests_.find(event.request);
  if (at == requests_.end()) return;
  const Request& request = at->second;
  if (request.active)
    context_.SendTo(request.lead(), wire::CancelRequest{event.request, request.plan.id});
  requests_.erase(at);
}

void EntryRequests::OnPause(const PauseLocal& event) {
  const auto at = requests_.find(event.request);
  if (at == requests_.end() || at->second.paused == event.paused) return;
  Request& request = at->second;
  request.paused = event.paused;
  if (request.active) {
    context_.SendTo(request.lead(),
                    wire::PauseRequest{event.request, request.plan.id, event.paused});
  }
}

void EntryRequests::OnTokens(const NodeId& from, const wire::Tokens& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || !at->second.active || at->second.lead() != from ||
      at->second.plan.id != message.plan) {
    ++context_.stale_messages;
    context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
    return;
  }
  Request& request = at->second;
  std::vector<TokenId>& emitted = request.emitted;
  size_t known = 0;
  if (!context_.options.bugs.no_token_index) {
    if (message.first_index > emitted.size()) {
      context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
      return FinishWithError(message.request, ErrorCode::kDisconnected,
                             fmt::format("tokens {} to {} of the answer were lost", emitted.size(),
                                         message.first_index - 1));
    }
    known = std::min<size_t>(emitted.size() - message.first_index, message.tokens.size());
    if (!std::equal(message.tokens.begin(),
                    message.tokens.begin() + static_cast<std::ptrdiff_t>(known),
                    emitted.begin() + message.first_index)) {
      context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
      return FinishWithError(message.request, ErrorCode::kCorrupt,
                             "the repeated answer is another one");
    }
  }
  if (known == message.tokens.size()) return;
  std::vector<TokenId> fresh(message.tokens.begin() + static_cast<std::ptrdiff_t>(known),
                             message.tokens.end());
  emitted.insert(emitted.end(), fresh.begin(), fresh.end());
  context_.Emit(RequestTokens{message.request, std::move(fresh), message.cached});
}

void EntryRequests::OnFinished(const NodeId& from, const wire::Finished& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || !at->second.active || at->second.lead() != from ||
      at->second.plan.id != message.plan) {
    ++context_.stale_messages;
    return;
  }
  wire::Finished finished = message;
  const auto emitted = static_cast<uint32_t>(at->second.emitted.size());
  if (finished.reason != wire::FinishReason::kError && finished.generated != emitted) {
    return FinishWithError(
        message.request, ErrorCode::kDisconnected,
        fmt::format("{} of {} tokens of the answer arrived", emitted, finished.generated));
  }
  finished.generated = emitted;
  Finish(message.request, std::move(finished));
}

// The lead repeats what it has; what we know already is recognized by its index.
void EntryRequests::OnPeerUp(const NodeId& peer) {
  for (const auto& [id, request] : requests_) {
    if (request.active && request.lead() == peer) SendToLead(request);
  }
}

void EntryRequests::OnPeerLost(const NodeId& peer, const std::string& detail) {
  std::vector<RequestId> lost;
  for (const auto& [id, request] : requests_) {
    if (request.active && request.lead() == peer) lost.push_back(id);
  }
  for (const RequestId& id : lost)
    End(id, {.reason = wire::Reason::kNodeLost, .node = peer, .detail = detail});
}

void EntryRequests::OnInstanceGone(const wire::Plan& plan, const wire::Cause& cause) {
  std::vector<RequestId> ended;
  for (auto& [id, request] : requests_) {
    if (!request.active || request.plan.id != plan.id) continue;
    if (cause.reason == wire::Reason::kEvicted && request.emitted.empty()) {
      // It crossed the eviction on its way: nothing was computed, and it brings the model back.
      request.active = false;
      request.unplaced_since = context_.now;
      desired_.Revive(request.model);
    } else {
      ended.push_back(id);
    }
  }
  for (const RequestId& id : ended) End(id, cause);
}

// Ends a request whose instance did not last.
void EntryRequests::End(const RequestId& id, const wire::Cause& cause) {
  const auto at = requests_.find(id);
  CHECK(at != requests_.end() && at->second.active);
  Error error = ErrorOf(cause, &at->second.plan,
                        [this](const NodeId& node) { return members_.NameOf(node); });
  FinishWithError(id, error.code, std::move(error.message));
}

void EntryRequests::OnTime() {
  std::vector<RequestId> unplaced;
  for (auto& [id, request] : requests_) {
    if (request.active || TryDispatch(request)) continue;
    if (context_.now - request.unplaced_since > context_.timers().waiting) unplaced.push_back(id);
  }
  for (const RequestId& id : unplaced) {
    FinishWithError(id, ErrorCode::kDisconnected, "no instance of the model is running any more");
  }
}

}  // namespace exo::cluster
