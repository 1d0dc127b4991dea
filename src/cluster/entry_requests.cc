#include <algorithm>

#include "base/check.h"
#include "cluster/requests.h"
#include "wire/plan.h"

namespace exo::cluster {

namespace {

constexpr const char* kOtherAdapters =
    "the model was loaded again with other adapters; send the request again";

constexpr const char* kOtherWire =
    "the answer was computed over another wire or division than the model has now, and would go on "
    "with another text; send the request again";

// Whether an index means the same adapter in both.
bool SameFiles(const std::vector<wire::AdapterRef>& a, const std::vector<wire::AdapterRef>& b) {
  return std::ranges::equal(a, b, {}, &wire::AdapterRef::file, &wire::AdapterRef::file);
}

}  // namespace

void EntryRequests::Finish(const RequestId& id, wire::Finished finished) {
  finished.request = id;
  RequestFinished effect{.finished = std::move(finished), .stages = {}};
  if (const auto ended = requests_.extract(id); !ended.empty()) {
    const Request& request = ended.mapped();
    if (request.active) ends_.Note(request.plan.id, request.sent_at, context_.now);
    effect.codec = wire::LossOf(ended.mapped().plan).codec;
    effect.stages = std::move(ended.mapped().plan.stages);
  }
  context_.Emit(std::move(effect));
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
  request.adapters = std::move(event.adapters);
  request.unplaced_since = context_.now;
  if (LostAdapters(request)) return FinishWithError(id, ErrorCode::kDisconnected, kOtherAdapters);
  TryDispatch(request);
}

// The request means adapters that the model's instance does not have.
bool EntryRequests::LostAdapters(const Request& request) const {
  if (request.active || request.submit.adapters.empty()) return false;
  const wire::InstanceSummary* best = desired_.Best(request.model);
  return best != nullptr && !SameFiles(request.adapters, best->plan.adapters);
}

// Its answer was begun where rows lose other bits between devices than they would now: it would go
// on as another text.
bool EntryRequests::LosesOtherBits(const Request& request) const {
  if (request.active || request.emitted.empty()) return false;
  const wire::InstanceSummary* best = desired_.Best(request.model);
  return best != nullptr && wire::LossOf(best->plan) != wire::LossOf(request.plan);
}

uint32_t EntryRequests::ActiveAt(const PlanId& plan) const {
  return static_cast<uint32_t>(std::ranges::count_if(requests_, [&](const auto& item) {
    return item.second.active && item.second.plan.id == plan;
  }));
}

const wire::InstanceSummary* EntryRequests::Choose(const Request& request) const {
  std::vector<const wire::InstanceSummary*> ready;
  std::vector<ReplicaLoad> loads;
  std::vector<PlanId> plans;
  for (const wire::InstanceSummary* one : desired_.Replicas(request.model)) {
    const NodeId& lead = one->plan.stages[0].node;
    if (one->state != wire::InstanceState::kReady || !members_.IsAlive(lead)) continue;
    if (request.ended == one->plan.id) continue;  // its end is on its way
    // What its lead has told is of a moment ago: of this entry's own requests the number is known.
    const uint32_t own = ActiveAt(one->plan.id);
    const uint32_t told = one->active_requests + one->queued_requests;
    const uint32_t own_then = own + ends_.Count(one->plan.id, context_.now);
    ready.push_back(one);
    plans.push_back(one->plan.id);
    loads.push_back(
        {.plan = one->plan.id,
         .requests = own + (told > own_then ? told - own_then : 0),
         .rate = AnswerRate::Of(one->expected.decode_tokens_per_second,
                                one->expected.total_tokens_per_second, one->expected.users),
         .here = lead == context_.self()});
  }
  if (ready.size() < 2) return ready.empty() ? nullptr : ready[0];
  const std::vector<TokenId>& prompt = request.submit.prompt;
  const auto known = hints_.Find(PrefixScope(request.model, request.submit), prompt, plans);
  return ready[ChooseReplica(loads, known, prompt.size())];
}

bool EntryRequests::TryDispatch(Request& request) {
  const wire::InstanceSummary* best = desired_.Best(request.model);
  if (best == nullptr) return false;
  // Of one whose end is on its way nothing is to be waited for.
  if (request.ended != best->plan.id) request.unplaced_since = context_.now;
  const wire::InstanceSummary* chosen = Choose(request);
  if (chosen == nullptr) return false;
  CHECK(!request.active);
  if (!request.emitted.empty()) GoOn(request);
  request.submit.kept = request.kept;
  request.active = true;
  request.sent_at = request.heard_at = context_.now;
  request.plan = chosen->plan;
  request.submit.plan = chosen->plan.id;
  hints_.Note(PrefixScope(request.model, request.submit), request.submit.prompt, chosen->plan.id);
  SendToLead(request);
  return true;
}

// Another lead gets what was passed on as a part of the prompt, and goes on behind it with the same
// tokens.
void EntryRequests::GoOn(Request& request) {
  wire::Submit& submit = request.submit;
  if (submit.prompt_tokens == 0) submit.prompt_tokens = static_cast<uint32_t>(submit.prompt.size());
  submit.prompt.resize(submit.prompt_tokens);
  submit.prompt.insert(submit.prompt.end(), request.emitted.begin(), request.emitted.end());
  submit.state = request.state;
}

// Whether another lead would go on as this one: what its sampling remembers is known.
bool EntryRequests::CanGoOn(const Request& request) {
  const wire::SamplerSettings& sampler = request.submit.sampler;
  const bool remembers = sampler.mirostat || !sampler.grammar.parts.empty();
  return request.emitted.empty() || request.state.begun || !remembers;
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
  if (request.active) {
    context_.SendTo(request.lead(), wire::CancelRequest{event.request, request.plan.id});
    ends_.Note(request.plan.id, request.sent_at, context_.now);
  }
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

void EntryRequests::OnQueued(const NodeId& from, const wire::Queued& message) {
  const auto at = requests_.find(message.request);
  const bool known = at != requests_.end() && at->second.active && at->second.lead() == from &&
                     at->second.plan.id == message.plan;
  if (known) context_.Emit(RequestQueued{message.request, message.before});
}

void EntryRequests::OnTokens(const NodeId& from, const wire::Tokens& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || !at->second.active || at->second.lead() != from ||
      at->second.plan.id != message.plan) {
    context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
    return;
  }
  Request& request = at->second;
  std::vector<TokenId>& emitted = request.emitted;
  const size_t first = message.first_index;
  if (message.tokens.empty()) {  // how far its prompt is
    if (first == emitted.size()) request.kept = {message.plan, message.computed};
    return;
  }
  size_t known = 0;
  if (!context_.options.bugs.no_token_index) {
    if (first > emitted.size()) {
      context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
      return FinishWithError(
          message.request, ErrorCode::kDisconnected,
          fmt::format("tokens {} to {} of the answer were lost", emitted.size(), first - 1));
    }
    known = std::min(emitted.size() - first, message.tokens.size());
    if (!std::equal(message.tokens.begin(),
                    message.tokens.begin() + static_cast<std::ptrdiff_t>(known),
                    emitted.begin() + static_cast<std::ptrdiff_t>(first))) {
      context_.SendTo(from, wire::CancelRequest{message.request, message.plan});
      return FinishWithError(message.request, ErrorCode::kCorrupt,
                             "the repeated answer is another one");
    }
  }
  if (known == message.tokens.size()) return;
  std::vector<TokenId> fresh(message.tokens.begin() + static_cast<std::ptrdiff_t>(known),
                             message.tokens.end());
  emitted.insert(emitted.end(), fresh.begin(), fresh.end());
  request.state = message.state;
  request.kept = {message.plan, message.computed};
  request.heard_at = context_.now;
  context_.Emit(RequestTokens{.request = message.request,
                              .tokens = std::move(fresh),
                              .cached = message.cached,
                              .logprobs = Part(message.logprobs, message.tokens.size(), known,
                                               message.tokens.size() - known),
                              .stages = message.stages,
                              .plan = message.plan,
                              .steps = message.steps,
                              .steps_dropped = message.steps_dropped});
}

void EntryRequests::OnFinished(const NodeId& from, const wire::Finished& message) {
  const auto at = requests_.find(message.request);
  if (at == requests_.end() || !at->second.active || at->second.lead() != from ||
      at->second.plan.id != message.plan) {
    return;  // of another plan
  }
  wire::Finished finished = message;
  const auto emitted = static_cast<uint32_t>(at->second.emitted.size());
  if (finished.reason != wire::FinishReason::kError && finished.generated != emitted) {
    return FinishWithError(
        message.request, ErrorCode::kDisconnected,
        fmt::format("{} of {} tokens of the answer arrived", emitted, finished.generated));
  }
  finished.generated = emitted;
  if (finished.reason == wire::FinishReason::kError && finished.moved)
    return GoElsewhere(message.request, message.plan, {finished.code, finished.message});
  if (finished.reason == wire::FinishReason::kError && finished.code == ErrorCode::kDisconnected)
    return Lose(message.request, message.plan, {finished.code, finished.message});
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
  if (wire::MakesWay(cause.reason)) return GoElsewhere(id, {}, std::move(error));
  if (cause.code == ErrorCode::kDisconnected) return Lose(id, {}, std::move(error));
  FinishWithError(id, error.code, std::move(error.message));
}

// The instance of a request is lost, and the request waits for another one, unless its client has
// waited so long that another attempt is the client's to decide.
void EntryRequests::Lose(const RequestId& id, const PlanId& ended, Error error) {
  if (EndsAtItsLength(id)) return;
  Request& request = requests_.at(id);
  const bool late = !request.paused && context_.now - request.heard_at > context_.timers().waiting;
  const bool goes_on = CanGoOn(request) && !request.lost && !late;
  context_.Emit(RequestLost{id, error.message, request.emitted.size(), goes_on});
  if (!goes_on) return FinishWithError(id, error.code, std::move(error.message));
  request.lost = std::move(error);
  Wait(request, ended);
}

// The instance makes way for a better plan, or as a duplicate, which is not the request's doing.
void EntryRequests::GoElsewhere(const RequestId& id, const PlanId& ended, Error error) {
  if (EndsAtItsLength(id)) return;
  Request& request = requests_.at(id);
  if (!CanGoOn(request)) return FinishWithError(id, error.code, std::move(error.message));
  Wait(request, ended);
}

// Only its end was missing.
bool EntryRequests::EndsAtItsLength(const RequestId& id) {
  const Request& request = requests_.at(id);
  const size_t generated = request.emitted.size();
  if (generated == 0 || generated < request.submit.max_new_tokens) return false;
  Finish(id,
         {.reason = wire::FinishReason::kLength, .generated = static_cast<uint32_t>(generated)});
  return true;
}

void EntryRequests::Wait(Request& request, const PlanId& ended) {
  request.active = false;
  request.ended = ended;
  request.unplaced_since = context_.now;
}

void EntryRequests::OnTime() {
  std::map<ModelId, bool> could_be_placed;  // of lost ones: planning is not free
  std::vector<std::pair<RequestId, Error>> unplaced;
  for (auto& [id, request] : requests_) {
    if (LostAdapters(request)) {
      unplaced.emplace_back(id, Error{ErrorCode::kDisconnected, kOtherAdapters});
      continue;
    }
    if (LosesOtherBits(request)) {
      unplaced.emplace_back(id, Error{ErrorCode::kDisconnected, kOtherWire});
      continue;
    }
    if (request.active || TryDispatch(request)) continue;
    const bool late = context_.now - request.unplaced_since > context_.timers().waiting;
    if (!request.lost) {
      if (late)
        unplaced.emplace_back(
            id, Error{ErrorCode::kDisconnected, "no instance of the model is running any more"});
      continue;
    }
    const auto [known, fresh] = could_be_placed.try_emplace(request.model, true);
    if (fresh) known->second = desired_.CouldPlace(request.model);
    if (!late && known->second) continue;
    const char* why = late ? "the model was not placed again in time"
                           : "the devices that are left do not hold the model";
    unplaced.emplace_back(
        id, Error{request.lost->code, fmt::format("{}; {}", request.lost->message, why)});
  }
  for (auto& [id, error] : unplaced) FinishWithError(id, error.code, std::move(error.message));
}

}  // namespace exo::cluster
