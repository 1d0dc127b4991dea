#include "node/requests.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/check.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// Tokens shown in one turn of the loop, so that many that wait (a reader has caught up) neither
// hold it nor pass the client's own limit before its pause arrives: 64 events are about 16 KiB.
constexpr size_t kTokensPerTurn = 64;

// A file that has changed rests for two seconds and is found by a scan within three more; hashing
// takes what it takes, but a request does not wait for that of another device's file.
constexpr Time kReadAgain = std::chrono::seconds(10);
constexpr Time kReadAgainPause = std::chrono::milliseconds(500);

double MillisecondsOf(Time time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

Refusal RefusalFor(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return Refusal::kUnknownModel;
    case ErrorCode::kOverloaded:
      return Refusal::kNoPlan;
    case ErrorCode::kDisconnected:
      return Refusal::kLost;
    case ErrorCode::kInvalid:
    case ErrorCode::kUnsupported:
      return Refusal::kBadInput;
    default:
      return Refusal::kNone;
  }
}

// Prompt ids of a request. Runs on the task queue. Errors: kInvalid, kOverloaded (template budget).
Result<std::vector<TokenId>> Tokenize(const GenerateRequest& request, const Vocabulary& vocabulary,
                                      int64_t local_time) {
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  std::vector<TokenId> ids;
  if (request.prompt_ids) {
    ids = *request.prompt_ids;
    for (const TokenId id : ids) {
      if (id < 0 || static_cast<size_t>(id) >= tokenizer.vocab_size()) {
        return Fail(ErrorCode::kInvalid, "token {} of the prompt is outside the vocabulary of {}",
                    id, tokenizer.vocab_size());
      }
    }
    return ids;
  }
  if (request.prompt) {
    ids = tokenizer.Encode(*request.prompt, false);
  } else {
    model::ChatTemplateOptions options{.now = local_time};
    if (tokenizer.bos() >= 0) options.bos_token = tokenizer.Bytes(tokenizer.bos(), true);
    if (tokenizer.eos() >= 0) options.eos_token = tokenizer.Bytes(tokenizer.eos(), true);
    ids = tokenizer.EncodePieces(TRY(RenderChat(vocabulary, request.messages, options)));
  }
  // Templates may write BOS themselves: it stands there once.
  if (tokenizer.add_bos() && tokenizer.bos() >= 0 &&
      (ids.empty() || ids.front() != tokenizer.bos())) {
    ids.insert(ids.begin(), tokenizer.bos());
  }
  return ids;
}

}  // namespace

struct Requests::Request {
  RequestId id;
  GenerateRequest request;
  GenerateSink* sink = nullptr;
  ModelId model;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<TokenId> prompt;  // until it is submitted
  uint32_t prompt_tokens = 0;
  uint32_t cached = 0;  // of them: their KV was there already
  std::unique_ptr<engine::TextStream> text;
  wire::Plan plan;
  bool submitted = false;
  bool started = false;  // OnStarted was called
  bool paused = false;
  bool delivery_posted = false;               // goes on in a later turn of the loop
  std::deque<TokenId> pending;                // arrived, not shown yet
  std::optional<wire::Finished> pending_end;  // likewise
  uint32_t generated = 0;
  Time start{}, first_token{}, last_token{};
  Time read_again_until{};  // its model's file has changed and is being read again
  std::unique_ptr<net::Timer> again;
};

// The client's end: gone means cancelled.
class Requests::Handle final : public Generation {
 public:
  Handle(Requests& requests, RequestId id)
      : requests_(requests), alive_(requests.alive_), id_(id) {}
  ~Handle() override {
    if (*alive_) requests_.Drop(id_);
  }
  void SetPaused(bool paused) override {
    if (*alive_) requests_.SetPaused(id_, paused);
  }

 private:
  Requests& requests_;
  std::shared_ptr<bool> alive_;
  RequestId id_;
};

Requests::Requests(net::EventLoop& loop, sys::TaskQueue& tasks, RequestHost& host)
    : loop_(loop), tasks_(tasks), host_(host) {}

Requests::~Requests() {
  *alive_ = false;
}

Requests::Request* Requests::Find(const RequestId& id) {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

std::unique_ptr<Generation> Requests::Start(GenerateRequest request, GenerateSink& sink) {
  auto entry = std::make_unique<Request>();
  entry->id = sys::RandomValue<RequestId>();
  entry->sink = &sink;
  entry->start = sys::Now();
  if (!request.has_seed)
    request.sampler.seed = sys::RandomValue<uint64_t>() >> 11;  // exact in JSON
  entry->text = std::make_unique<engine::TextStream>(request.stop);
  entry->request = std::move(request);
  const RequestId id = entry->id;
  const std::string name = entry->request.model;
  requests_[id] = std::move(entry);
  ++totals_.requests_total;
  host_.OnRequestChanged(id, {.model = name, .state = "started"});
  auto handle = std::make_unique<Handle>(*this, id);
  // From the loop, so that the caller holds the handle before the first callback.
  loop_.Post([this, alive = alive_, id, name] {
    if (!*alive || Find(id) == nullptr) return;
    host_.FindModel(name, [this, alive, id](Result<ModelId> model) {
      if (!*alive) return;
      if (!model) return FailRequest(id, model.error(), RefusalFor(model.error().code));
      Request* found = Find(id);
      if (found == nullptr) return;
      found->model = *model;
      host_.GetVocabulary(*model,
                          [this, alive, id](Result<std::shared_ptr<const Vocabulary>> vocabulary) {
                            if (*alive) OnVocabulary(id, std::move(vocabulary));
                          });
    });
  });
  return handle;
}

void Requests::OnVocabulary(const RequestId& id,
                            Result<std::shared_ptr<const Vocabulary>> vocabulary) {
  Request* request = Find(id);
  if (request == nullptr) return;
  if (!vocabulary) return FailRequest(id, vocabulary.error(), RefusalFor(vocabulary.error().code));
  request->vocabulary = *vocabulary;
  // The worker takes the texts and frees them, which takes a while where there are many.
  auto input = std::make_shared<GenerateRequest>();
  input->messages = std::move(request->request.messages);
  input->prompt = std::move(request->request.prompt);
  input->prompt_ids = std::move(request->request.prompt_ids);
  input->lease = std::move(request->request.lease);
  // The loop outlives the worker; this object may not, which only the loop's thread can tell.
  const bool begun = tasks_.Post([this, &loop = loop_, alive = alive_, id, input = std::move(input),
                                  vocabulary = *vocabulary, local_time = host_.LocalTime()] {
    auto prompt = Tokenize(*input, *vocabulary, local_time);
    loop.Post([this, alive, id, prompt = std::move(prompt)]() mutable {
      if (*alive) OnTokenized(id, std::move(prompt));
    });
  });
  if (!begun) {
    FailRequest(id, Error{ErrorCode::kOverloaded, "too many requests are being prepared"},
                Refusal::kQueueFull);
  }
}

void Requests::OnTokenized(const RequestId& id, Result<std::vector<TokenId>> prompt) {
  Request* request = Find(id);
  if (request == nullptr) return;
  if (!prompt) return FailRequest(id, prompt.error(), Refusal::kBadInput);
  if (prompt->empty()) {
    return FailRequest(id, Error{ErrorCode::kInvalid, "the prompt is empty"}, Refusal::kBadInput);
  }
  request->prompt = std::move(*prompt);
  request->prompt_tokens = static_cast<uint32_t>(request->prompt.size());
  const uint32_t context = host_.ContextOf(request->model);
  if (request->prompt_tokens >= context) return RefuseLength(*request, context);
  Place(id);
}

void Requests::Place(const RequestId& id) {
  const Request& request = *Find(id);
  host_.Ensure(request.model, request.request.spread,
               [this, alive = alive_, id](Result<wire::Plan> plan) {
                 if (*alive) OnReady(id, std::move(plan));
               });
}

// A model's file that was touched is unknown until it has been read again, here or on the device
// that has it: its load fails, or nobody has the model for a moment.
bool Requests::MayBeReadAgain(Request& request, const Error& error) {
  if (error.code != ErrorCode::kCorrupt && error.code != ErrorCode::kNotFound) return false;
  const Time now = sys::Now();
  if (request.read_again_until == Time{}) request.read_again_until = now + kReadAgain;
  return now < request.read_again_until;
}

// The tokens are those of this model: if the name means another one now, the request is over.
void Requests::PlaceAgain(const RequestId& id, const Error& error) {
  Request& waiting = *Find(id);
  if (waiting.again == nullptr) waiting.again = std::make_unique<net::Timer>(loop_);
  waiting.again->Start(kReadAgainPause, [this, id, error] {
    host_.FindModel(Find(id)->request.model, [this, alive = alive_, id,
                                              error](Result<ModelId> model) {
      Request* request = *alive ? Find(id) : nullptr;
      if (request == nullptr) return;
      if (model && *model == request->model) return Place(id);
      if (!model && MayBeReadAgain(*request, model.error())) return PlaceAgain(id, error);
      if (!model) return FailRequest(id, error, Refusal::kNoPlan);
      const Error replaced{ErrorCode::kDisconnected,
                           fmt::format("the file of '{}' was replaced by another model meanwhile; "
                                       "send the request again",
                                       request->request.model)};
      FailRequest(id, replaced, Refusal::kNoPlan);
    });
  });
}

// The prompt alone decides; a limit of tokens beyond the context means what the context leaves.
void Requests::RefuseLength(const Request& request, uint32_t context) {
  FailRequest(request.id,
              Error{ErrorCode::kInvalid,
                    fmt::format("the prompt has {} tokens, but the context of {} holds {}, with at "
                                "least one for the answer; shorten the prompt",
                                request.prompt_tokens, request.request.model, context)},
              Refusal::kContextLength);
}

void Requests::OnReady(const RequestId& id, Result<wire::Plan> plan) {
  Request* request = Find(id);
  if (request == nullptr) return;
  if (!plan) {
    if (MayBeReadAgain(*request, plan.error())) return PlaceAgain(id, plan.error());
    return FailRequest(id, plan.error(), Refusal::kNoPlan);
  }
  CHECK(!request->submitted && request->vocabulary != nullptr);
  request->plan = std::move(*plan);
  if (request->prompt_tokens >= request->plan.context)
    return RefuseLength(*request, request->plan.context);
  const uint32_t prompt_tokens = request->prompt_tokens;
  const uint32_t room = request->plan.context - prompt_tokens;
  wire::Submit submit;
  submit.request = id;
  submit.prompt = std::move(request->prompt);
  submit.prompt_tokens = prompt_tokens;
  submit.max_new_tokens = std::min(request->request.max_tokens.value_or(room), room);
  submit.sampler = request->request.sampler;
  submit.stop_tokens = request->vocabulary->stop_tokens;
  request->submitted = true;
  totals_.prompt_tokens += prompt_tokens;
  host_.Submit(std::move(submit), request->model);
  if (request = Find(id); request != nullptr && request->paused) host_.PauseRequest(id, true);
}

void Requests::OnTokens(const cluster::RequestTokens& news) {
  const std::vector<TokenId>& tokens = news.tokens;
  Request* request = Find(news.request);
  if (request == nullptr) return;
  if (request->generated == 0) {
    request->cached = std::min(news.cached, request->prompt_tokens);
    totals_.cached_tokens += request->cached;
  }
  request->pending.insert(request->pending.end(), tokens.begin(), tokens.end());
  request->generated += static_cast<uint32_t>(tokens.size());
  totals_.generated_tokens += tokens.size();
  request->last_token = sys::Now();
  if (request->first_token == Time{}) request->first_token = request->last_token;
  Deliver(news.request);
}

void Requests::OnFinished(const wire::Finished& finished, std::vector<wire::StagePlan> stages) {
  Request* request = Find(finished.request);
  if (request == nullptr) return;
  if (!stages.empty()) request->plan.stages = std::move(stages);
  request->pending_end = finished;
  Deliver(finished.request);
}

void Requests::Deliver(const RequestId& id) {
  Request* request = Find(id);
  if (request == nullptr || request->paused || request->delivery_posted) return;
  if (!request->started &&
      (!request->pending.empty() ||
       (request->pending_end && request->pending_end->reason != wire::FinishReason::kError))) {
    request->started = true;
    request->sink->OnStarted(request->prompt_tokens);
    if (Find(id) == nullptr) return;
  }
  if (!ShowPending(*request)) return;
  if (!request->pending_end) return;
  const wire::Finished end = *request->pending_end;
  if (end.reason == wire::FinishReason::kError) {
    const Refusal refusal =
        end.code == ErrorCode::kOverloaded ? Refusal::kQueueFull : RefusalFor(end.code);
    return FailRequest(id, Error{end.code, end.message}, refusal);
  }
  Finish(*request, end.reason, &end);
}

bool Requests::ShowPending(Request& request) {
  const RequestId id = request.id;
  for (size_t shown = 0; !request.pending.empty(); ++shown) {
    if (shown == kTokensPerTurn) {
      request.delivery_posted = true;
      loop_.Post([this, alive = alive_, id] {
        Request* later = *alive ? Find(id) : nullptr;
        if (later == nullptr) return;
        later->delivery_posted = false;
        Deliver(id);
      });
      return false;
    }
    const TokenId token = request.pending.front();
    request.pending.pop_front();
    ShowToken(request, token);
    if (Find(id) == nullptr || request.paused) return false;
  }
  return true;
}

void Requests::ShowToken(Request& request, TokenId token) {
  const RequestId id = request.id;
  const std::string shown = request.text->Push(request.vocabulary->tokenizer->Bytes(token));
  request.sink->OnDelta({TextDelta{shown}, std::span(&token, 1)});
  if (Find(id) == nullptr) return;
  if (request.text->stopped()) {
    host_.CancelRequest(id);
    Finish(request, wire::FinishReason::kStop, nullptr);
  }
}

void Requests::Finish(Request& request, wire::FinishReason reason, const wire::Finished* finished) {
  const std::string rest = request.text->Finish();
  const RequestId id = request.id;
  if (!rest.empty()) {
    request.sink->OnDelta({TextDelta{rest}, {}});
    if (Find(id) == nullptr) return;
  }
  GenerateStats stats;
  stats.prompt_tokens = request.prompt_tokens;
  stats.cached_tokens = request.cached;
  stats.completion_tokens = request.generated;
  stats.seed = request.request.sampler.seed;
  stats.ttft_ms = request.generated > 0 ? MillisecondsOf(request.first_token - request.start) : 0;
  // By the lead's clock where it told: tokens that arrive here together take no time here.
  const double decode_s = finished != nullptr
                              ? static_cast<double>(finished->decode_us) * 1e-6
                              : MillisecondsOf(request.last_token - request.first_token) / 1000;
  if (request.generated > 1 && decode_s > 0)
    stats.tokens_per_second = (request.generated - 1) / decode_s;
  const double prefill_s =
      finished != nullptr ? static_cast<double>(finished->prefill_us) * 1e-6 : stats.ttft_ms / 1000;
  if (prefill_s > 0)
    stats.prompt_per_second = (stats.prompt_tokens - stats.cached_tokens) / prefill_s;
  for (const wire::StagePlan& stage : request.plan.stages) {
    StageReport report = {.node = host_.NameOf(stage.node),
                          .id = stage.node,
                          .layer_begin = stage.layer_begin,
                          .layer_end = stage.layer_end};
    if (finished != nullptr) {
      for (const wire::StageTime& time : finished->stages) {
        if (time.node == stage.node)
          report.milliseconds += static_cast<double>(time.microseconds) / 1000;
      }
    }
    stats.stages.push_back(std::move(report));
  }
  const auto ended = End(id, fmt::format("{} prompt tokens, {} generated", stats.prompt_tokens,
                                         stats.completion_tokens));
  ended->sink->OnDone(reason, stats);
}

std::unique_ptr<Requests::Request> Requests::End(const RequestId& id, std::string how) {
  auto found = requests_.extract(id);
  CHECK(!found.empty());  // a request ends once
  auto ended = std::move(found.mapped());
  host_.OnRequestChanged(
      id, {.model = ended->request.model, .state = "ended", .detail = std::move(how)});
  return ended;
}

NodeMetrics Requests::Metrics() const {
  NodeMetrics metrics = totals_;
  for (const auto& [id, request] : requests_)
    ++(request->submitted ? metrics.requests_active : metrics.requests_queued);
  return metrics;
}

void Requests::FailRequest(const RequestId& id, const Error& error, Refusal refusal) {
  Request* request = Find(id);
  if (request == nullptr) return;
  const auto ended = End(id, error.message);
  ended->sink->OnError({.error = error, .refusal = refusal});
}

size_t Requests::EndAll(const Error& error) {
  std::vector<RequestId> all;
  for (const auto& [id, request] : requests_) all.push_back(id);
  for (const RequestId& id : all) {
    const Request* request = Find(id);
    if (request != nullptr && request->submitted) host_.CancelRequest(id);
    FailRequest(id, error, Refusal::kLost);
  }
  return all.size();
}

void Requests::SetPaused(const RequestId& id, bool paused) {
  Request* request = Find(id);
  if (request == nullptr || request->paused == paused) return;
  request->paused = paused;
  if (request->submitted) host_.PauseRequest(id, paused);
  Deliver(id);
}

void Requests::Drop(const RequestId& id) {
  Request* request = Find(id);
  if (request == nullptr) return;
  if (request->submitted) host_.CancelRequest(id);
  End(id, fmt::format("cancelled by its client after {} tokens", request->generated));
}

}  // namespace exo::node
