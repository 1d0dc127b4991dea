#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "node/dry_breakers.h"
#include "node/prompt.h"
#include "node/requests_impl.h"
#include "sys/files.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// Tokens shown in one turn of the loop, so that many that wait (a reader has caught up) neither
// hold it nor pass the client's own limit before its pause arrives: 64 events are about 16 KiB.
constexpr size_t kTokensPerTurn = 64;

// A file that has changed rests for two seconds and is found by a scan within three more; hashing
// takes what it takes, but a request does not wait for that of another device's file.
constexpr Time kReadAgain = std::chrono::seconds(10);
// A client hears that its request is in work as soon as what is refused at once would have been: by
// the device that leads the model, a round trip away. While a model is loaded it waits longer, for
// the right status if that fails, but not as long as proxies do (50 s).
constexpr Time kAnnounceAfter = std::chrono::milliseconds(100);
constexpr Time kAnnounceWhileLoading = std::chrono::seconds(20);
// A model that runs is placed at once.
constexpr Time kLoadShown = std::chrono::milliseconds(1);
constexpr Time kReadAgainPause = std::chrono::milliseconds(500);

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

// Of what is found, or not, at the name of a model.
Refusal RefusalOfModel(ErrorCode code) {
  const bool broken =
      code == ErrorCode::kInvalid || code == ErrorCode::kUnsupported || code == ErrorCode::kCorrupt;
  return broken ? Refusal::kBadModel : RefusalFor(code);
}

// What a request uses of its plan's adapters. Errors: kInvalid.
Result<std::vector<wire::AdapterUse>> UsesOf(const GenerateRequest& request,
                                             const wire::Plan& plan) {
  std::vector<wire::AdapterUse> uses;
  if (request.adapters) {
    uses = *request.adapters;
  } else {
    for (uint32_t i = 0; i < plan.adapters.size(); ++i) uses.push_back({i, plan.adapters[i].scale});
  }
  std::erase_if(uses, [](const wire::AdapterUse& use) { return use.scale == 0; });
  std::ranges::sort(uses);
  TRY(wire::CheckUses(uses, plan.adapters.size()));
  return uses;
}

// From ids to bytes.
void AddLogprobs(const cluster::RequestTokens& news, const Vocabulary& vocabulary,
                 std::deque<SampledLogprob>& out) {
  const auto token = [&](TokenId id, float logprob) {
    return TokenLogprob{.bytes = vocabulary.tokenizer->Bytes(id, true), .logprob = logprob};
  };
  const wire::Logprobs& all = news.logprobs;
  const size_t count = std::min(all.sampled.size(), news.tokens.size());
  const size_t each = count == 0 ? 0 : all.top.size() / all.sampled.size();
  for (size_t i = 0; i < count; ++i) {
    SampledLogprob one{.token = token(news.tokens[i], all.sampled[i]), .top = {}};
    for (const wire::TopLogprob& top : std::span(all.top).subspan(i * each, each))
      one.top.push_back(token(top.token, top.logprob));
    out.push_back(std::move(one));
  }
}

// The same with the field, or the model, that is at fault.
template <class T>
std::expected<T, GenerateError> Blame(Result<T> result, std::string field,
                                      Refusal refusal = Refusal::kBadInput) {
  if (!result) {
    return std::unexpected(GenerateError{
        .error = std::move(result.error()), .refusal = refusal, .field = std::move(field)});
  }
  if constexpr (std::is_void_v<T>) {
    return {};
  } else {
    return *std::move(result);
  }
}

// Token ids that the client names. Errors: kInvalid (says which).
Result<void> CheckToken(TokenId id, const char* field, size_t vocabulary) {
  if (id >= 0 && static_cast<size_t>(id) < vocabulary) return {};
  return Fail(ErrorCode::kInvalid, "token {} of '{}' is outside the vocabulary of {}", id, field,
              vocabulary);
}
std::expected<void, GenerateError> CheckTokens(const GenerateRequest& request, size_t vocabulary) {
  constexpr const char *kBias = "logit_bias", *kStop = "stop_token_ids", *kBefore = "context";
  for (const wire::LogitBias& bias : request.sampler.logit_bias)
    TRY(Blame(CheckToken(bias.token, kBias, vocabulary), kBias));
  for (const TokenId id : request.stop_tokens) TRY(Blame(CheckToken(id, kStop, vocabulary), kStop));
  for (const TokenId id : request.before) TRY(Blame(CheckToken(id, kBefore, vocabulary), kBefore));
  return {};
}

// Of a pair the model alone decides whether it has a form for it.
std::expected<Prompt, GenerateError> PromptOf(const GenerateRequest& request,
                                              const Vocabulary& vocabulary, int64_t local_time) {
  auto prompt = MakePrompt(request, vocabulary, local_time);
  if (request.pair) return Blame(std::move(prompt), "model", Refusal::kBadModel);
  return Blame(std::move(prompt), request.suffix ? "suffix" : "");
}

}  // namespace

// The client's end: gone means cancelled.
class Requests::Handle final : public Generation {
 public:
  Handle(Requests& requests, std::shared_ptr<Answer> answer)
      : requests_(requests), alive_(requests.alive_), answer_(std::move(answer)) {}
  ~Handle() override {
    if (*alive_) requests_.Drop(*answer_, "canceled by its client");
  }
  void SetPaused(bool paused) override {
    if (*alive_) requests_.SetPaused(*answer_, paused);
  }

 private:
  Requests& requests_;
  std::shared_ptr<bool> alive_;
  std::shared_ptr<Answer> answer_;
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
  const bool named = !request.asker.call.IsZero() && Find(request.asker.call) == nullptr;
  entry->id = named ? request.asker.call : sys::RandomValue<RequestId>();
  entry->answer = std::make_shared<Answer>();
  entry->answer->sink = &sink;
  entry->answer->choices = request.choices;
  entry->answer->running.push_back(entry->id);
  entry->start = entry->answer->start = sys::Now();
  if (!request.has_seed)
    request.sampler.seed = sys::RandomValue<uint64_t>() >> 11;  // exact in JSON
  entry->text = std::make_unique<engine::TextStream>(request.stop);
  entry->request = std::move(request);
  const RequestId id = entry->id;
  const std::string name = entry->request.model;
  auto handle = std::make_unique<Handle>(*this, entry->answer);
  const Asker& asker = entry->request.asker;
  entry->answer->record =
      records_.Begin(asker.call.IsZero() ? id : asker.call, name, asker, entry->start);
  requests_[id] = std::move(entry);
  ++totals_.requests_total;
  host_.OnRequestChanged(id, {.model = name, .state = "started"});
  // From the loop, so that the caller holds the handle before the first callback.
  loop_.Post([this, alive = alive_, id, name] {
    if (!*alive || Find(id) == nullptr) return;
    host_.FindModel(name, [this, alive, id](Result<ModelId> model) {
      if (!*alive) return;
      if (!model) return FailRequest(id, model.error(), RefusalOfModel(model.error().code));
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
  if (!vocabulary)
    return FailRequest(id, vocabulary.error(), RefusalOfModel(vocabulary.error().code));
  request->vocabulary = *vocabulary;
  // The worker takes the texts and frees them, which takes a while where there are many.
  auto input = std::make_shared<GenerateRequest>();
  input->messages = std::move(request->request.messages);
  input->before = std::move(request->request.before);
  input->chat = std::move(request->request.chat);
  input->prompt = std::move(request->request.prompt);
  input->suffix = std::move(request->request.suffix);
  input->pair = std::move(request->request.pair);
  input->readout = request->request.readout;
  input->special = request->request.special;
  input->prompt_ids = std::move(request->request.prompt_ids);
  input->lease = std::move(request->request.lease);
  input->dry_breakers = std::move(request->request.dry_breakers);
  input->stop_tokens = request->request.stop_tokens;
  input->sampler = request->request.sampler;
  const std::string log_as = host_.LogsPrompts() ? id.Short() : "";
  // The loop outlives the worker; this object may not, which only the loop's thread can tell.
  const bool begun = tasks_.Post([this, log_as, &loop = loop_, alive = alive_, id,
                                  input = std::move(input), vocabulary = *vocabulary,
                                  local_time = host_.LocalTime(), &grammars = host_.grammars()] {
    auto prepared = Prepare(*input, *vocabulary, local_time, grammars, log_as);
    loop.Post([this, alive, id, prepared = std::move(prepared)]() mutable {
      if (*alive) OnPrepared(id, std::move(prepared));
    });
  });
  if (!begun) {
    FailRequest(id, Error{ErrorCode::kOverloaded, "too many requests are being prepared"},
                Refusal::kQueueFull);
  }
}

Requests::Checked<Requests::Prepared> Requests::Prepare(const GenerateRequest& request,
                                                        const Vocabulary& vocabulary,
                                                        int64_t local_time,
                                                        grammar::Cache& grammars,
                                                        const std::string& log_as) {
  const Time begun = sys::Now();
  TRY(CheckTokens(request, vocabulary.tokenizer->vocab_size()));
  const auto own =
      TRY(Blame(WithTemplate(vocabulary, request.chat.chat_template), "model", Refusal::kBadModel));
  const Vocabulary& used = own ? *own : vocabulary;
  Prompt prompt = TRY(PromptOf(request, used, local_time));
  if (!log_as.empty()) {
    LOG(kInfo, "request={} prompt of {} tokens: {}", log_as, prompt.ids.size(), prompt.text);
  }
  Prepared prepared = {.prompt = std::move(prompt.ids),
                       .begun = begun,
                       .text_at = prompt.text_at,
                       .done = sys::Now()};
  prepared.reading = TRY(Blame(PlanReading(request, used, prompt.text, grammars), "tool_choice"));
  if (request.sampler.dry_multiplier > 0) {
    auto breakers = TRY(Blame(FindDryBreakers(*vocabulary.tokenizer, request.dry_breakers),
                              "dry_sequence_breakers"));
    prepared.dry_break_tokens = std::move(breakers.tokens);
    prepared.dry_break_sequences = std::move(breakers.sequences);
  }
  if (request.readout) {
    prepared.readout =
        TRY(Blame(KindOfReadout(*request.readout, vocabulary), "model", Refusal::kBadModel));
    prepared.read_tokens =
        TRY(Blame(TokensToRead(*request.readout, vocabulary), "model", Refusal::kBadModel));
  }
  return prepared;
}

void Requests::OnPrepared(const RequestId& id, Checked<Prepared> prepared) {
  Request* request = Find(id);
  if (request == nullptr) return;
  if (!prepared) return FailRequest(id, prepared.error());
  if (prepared->prompt.empty()) {
    return FailRequest(id, Error{ErrorCode::kInvalid, "the prompt is empty"}, Refusal::kBadInput);
  }
  TracePreparation(*request, *prepared);
  wire::SamplerSettings& sampler = request->request.sampler;
  sampler.dry_break_tokens = std::move(prepared->dry_break_tokens);
  sampler.dry_break_sequences = std::move(prepared->dry_break_sequences);
  request->prompt = std::move(prepared->prompt);
  request->readout = prepared->readout;
  request->read_tokens = std::move(prepared->read_tokens);
  Read(*request, std::move(prepared->reading));
  if (request->reading != nullptr && request->reading->grammar)
    sampler.grammar = *request->reading->grammar;
  const uint32_t context = host_.ContextOf(request->model);
  Shorten(*request, context);
  request->prompt_tokens = static_cast<uint32_t>(request->prompt.size());
  if (request->prompt_tokens >= context) return RefuseLength(*request, context);
  if (request->request.tells_prompt) request->answer->told_prompt = request->prompt;
  Place(id);
}

void Requests::TracePreparation(Request& request, const Prepared& prepared) {
  request.prepared_at = sys::Now();
  TraceRecord* trace = request.answer->record->trace();
  if (trace == nullptr) return;
  const auto rows = static_cast<uint32_t>(prepared.prompt.size());
  trace->AddPhase(TraceSpan::Kind::kQueue, request.start, prepared.begun);
  trace->AddPhase(TraceSpan::Kind::kTemplate, prepared.begun, prepared.text_at);
  trace->AddPhase(TraceSpan::Kind::kTokenize, prepared.text_at, prepared.done, rows);
}

// Where a readout may be cut; an end that its model wants stays.
void Requests::Shorten(Request& request, uint32_t context) {
  std::vector<TokenId>& prompt = request.prompt;
  if (!request.request.readout || !request.request.readout->truncate || context < 2) return;
  if (prompt.size() < context) return;
  const TokenId end = prompt.back();
  prompt.resize(context - 1);
  if (end == request.vocabulary->tokenizer->text_end()) prompt.back() = end;
}

void Requests::Place(const RequestId& id) {
  Request& request = *Find(id);
  AnnounceAfter(request, kAnnounceWhileLoading);
  host_.Ensure(request.model,
               {.split = request.request.split,
                .adapters = request.request.load_adapters,
                .keep_ms = request.request.keep_ms},
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
      const bool missing = !model && model.error().code == ErrorCode::kNotFound;
      if (missing && MayBeReadAgain(*request, model.error())) return PlaceAgain(id, error);
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
  const std::string message = fmt::format(
      "the prompt has {} tokens, but the context of {} holds {}, with at least one for the answer; "
      "shorten the prompt",
      request.prompt_tokens, request.request.model, context);
  FailRequest(request.id, {.error = {ErrorCode::kInvalid, message},
                           .refusal = Refusal::kContextLength,
                           .prompt_tokens = request.prompt_tokens,
                           .context = context});
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
  NotePlacement(*request);
  Shorten(*request, request->plan.context);
  request->prompt_tokens = static_cast<uint32_t>(request->prompt.size());
  if (request->prompt_tokens >= request->plan.context)
    return RefuseLength(*request, request->plan.context);
  auto uses = UsesOf(request->request, request->plan);
  if (!uses) {
    return FailRequest(id, {.error = uses.error(), .refusal = Refusal::kBadInput, .field = "lora"});
  }
  request->adapters = *std::move(uses);
  if (request->answer->choices > 1) request->answer->prompt = request->prompt;
  SubmitChoice(*request, std::move(request->prompt));
}

void Requests::NotePlacement(const Request& request) {
  RequestRecord& record = *request.answer->record;
  std::vector<NodeId> nodes;
  for (const wire::StagePlan& stage : request.plan.stages) nodes.push_back(stage.node);
  record.OnPlaced(std::move(nodes));
  const Time now = sys::Now();
  if (record.trace() != nullptr && now - request.prepared_at >= kLoadShown)
    record.trace()->AddPhase(TraceSpan::Kind::kLoad, request.prepared_at, now);
}

uint32_t Requests::MostTokens(const Request& request) {
  const uint32_t room = request.plan.context - request.prompt_tokens;
  return std::min(request.request.max_tokens.value_or(room), room);
}

void Requests::SubmitChoice(Request& request, std::vector<TokenId> prompt) {
  const RequestId id = request.id;
  wire::Submit submit;
  submit.request = id;
  submit.prompt = std::move(prompt);
  submit.prompt_tokens = request.prompt_tokens;
  submit.max_new_tokens = MostTokens(request);
  submit.sampler = request.request.sampler;
  submit.stop_tokens = request.vocabulary->stop_tokens;
  const auto& more = request.request.stop_tokens;
  submit.stop_tokens.insert(submit.stop_tokens.end(), more.begin(), more.end());
  submit.client = request.request.client;
  submit.prefix_scope = request.request.prefix_scope;
  submit.adapters = request.adapters;
  submit.readout = request.readout;
  submit.read_tokens = request.read_tokens;
  request.submitted = true;
  AnnounceAfter(request, kAnnounceAfter);
  totals_.prompt_tokens += request.prompt_tokens;
  meters_[request.plan.model_name].prompt_tokens += request.prompt_tokens;
  request.answer->record->OnPrompt(request.choice() == 0 ? request.prompt_tokens : 0);
  host_.Submit(std::move(submit), request.model, request.plan.adapters);
  if (const Request* still = Find(id); still != nullptr && still->paused)
    host_.PauseRequest(id, true);
}

void Requests::OnQueued(const cluster::RequestQueued& news) {
  Request* request = Find(news.request);
  if (request == nullptr) return;
  request->waits = true;
  request->answer->record->OnWaiting();
  host_.OnRequestChanged(
      news.request,
      {.model = request->request.model,
       .state = "queued",
       .detail = news.before == 0 ? "next" : fmt::format("behind {} others", news.before)});
}

void Requests::OnLost(const cluster::RequestLost& news) const {
  LOG(kWarning, "request={}: {} after {} tokens of the answer; {}", news.request.Short(), news.why,
      news.generated,
      news.goes_on ? "it goes on when the model runs again on the devices that are left"
                   : "it ends with an error");
}

void Requests::OnTokens(const cluster::RequestTokens& news) {
  const std::vector<TokenId>& tokens = news.tokens;
  Request* request = Find(news.request);
  if (request == nullptr) return;
  const bool first = request->generated == 0;
  if (first) {
    request->cached = std::min(news.cached, request->prompt_tokens);
    totals_.cached_tokens += request->cached;
    meters_[request->plan.model_name].cached_tokens += request->cached;
  }
  request->waits = false;
  NoteTokens(*request, news, first && request->choice() == 0 ? request->cached : 0);
  if (!BeginOthers(news.request)) return;
  request->pending.insert(request->pending.end(), tokens.begin(), tokens.end());
  if (request->request.sampler.logprobs)
    AddLogprobs(news, *request->vocabulary, request->pending_logprobs);
  request->generated += static_cast<uint32_t>(tokens.size());
  totals_.generated_tokens += tokens.size();
  CountGenerated(request->plan.id, tokens.size());
  request->stages = news.stages;
  NoteStages(*request);
  request->last_token = sys::Now();
  if (request->first_token == Time{}) request->first_token = request->last_token;
  Time& first_token = request->answer->first_token;
  if (first_token == Time{}) first_token = request->last_token;
  Deliver(news.request);
}

// Of several instances of a model the entry chooses one, and a loss or a move brings another.
void Requests::NoteStages(const Request& request) {
  if (request.stages.empty()) return;
  std::vector<NodeId> nodes;
  for (const wire::StageTime& stage : request.stages) nodes.push_back(stage.node);
  RequestRecord& record = *request.answer->record;
  if (nodes != record.nodes()) record.OnPlaced(std::move(nodes));
}

// Plans come and go; the figures of those that answer nothing go too, when there are many.
void Requests::CountGenerated(const PlanId& plan, size_t tokens) {
  constexpr size_t kMaxPlans = 64;
  if (!generated_.contains(plan) && generated_.size() >= kMaxPlans) {
    std::erase_if(generated_, [this](const auto& one) {
      return std::ranges::none_of(
          requests_, [&](const auto& running) { return running.second->plan.id == one.first; });
    });
  }
  generated_[plan] += tokens;
}

uint64_t Requests::GeneratedBy(const PlanId& plan) const {
  const auto found = generated_.find(plan);
  return found == generated_.end() ? 0 : found->second;
}

void Requests::NoteTokens(Request& request, const cluster::RequestTokens& news, uint32_t cached) {
  const Time now = sys::Now();
  RequestRecord& record = *request.answer->record;
  Measure(request, news, now);
  if (!news.tokens.empty()) record.OnTokens(news.tokens.size(), cached, now);
  if (record.trace() != nullptr)
    record.trace()->AddSteps(news, request.choice(), request.generated, now);
}

// The lead's clock tells how long the prompt was computed; the rest of the time to the first token
// it waited, here or there.
void Requests::Measure(Request& request, const cluster::RequestTokens& news, Time now) {
  const auto seconds = [](Time time) { return std::chrono::duration<double>(time).count(); };
  ModelMetrics& meters = meters_[request.plan.model_name];
  meters.generated_tokens += news.tokens.size();
  if (!news.tokens.empty() && request.first_token != Time{}) {
    const auto tokens = static_cast<double>(news.tokens.size());
    meters.token_gap.Observe(seconds(now - request.last_token) / tokens, news.tokens.size());
  }
  if (std::exchange(request.measured, true)) return;
  const double taken = seconds(now - request.start);
  if (!news.tokens.empty()) meters.first_token.Observe(taken);
  if (news.steps.empty()) return;
  const auto computed =
      static_cast<double>(news.steps.back().done_us -
                          std::min(news.steps.front().begun_us, news.steps.back().done_us)) *
      1e-6;
  meters.prefill.Observe(std::min(computed, taken));
  meters.queue.Observe(std::max(0.0, taken - computed));
}

void Requests::MeasureEnd(const Request& request, RequestState state, wire::FinishReason reason) {
  if (request.plan.model_name.empty()) return;  // it was never placed
  const auto seconds = [](Time time) { return std::chrono::duration<double>(time).count(); };
  ModelMetrics& meters = meters_[request.plan.model_name];
  for (const wire::StageTime& stage : request.stages)
    stage_seconds_[stage.node] += static_cast<double>(stage.microseconds) * 1e-6;
  meters.whole.Observe(seconds(sys::Now() - request.start));
  if (request.generated > 1)
    meters.decode.Observe(seconds(request.last_token - request.first_token));
  switch (state) {
    case RequestState::kDone:
      ++(reason == wire::FinishReason::kLength ? meters.at_length : meters.stopped);
      break;
    case RequestState::kCanceled:
      ++meters.aborted;
      break;
    default:
      ++meters.failed;
  }
}

void Requests::OnFinished(const wire::Finished& finished, std::vector<wire::StagePlan> stages,
                          wire::Codec codec) {
  Request* request = Find(finished.request);
  if (request == nullptr) return;
  if (!finished.stages.empty()) request->stages = finished.stages;
  if (!finished.steps.empty())
    NoteTokens(*request,
               {.stages = finished.stages,
                .plan = finished.plan,
                .steps = finished.steps,
                .steps_dropped = finished.steps_dropped},
               0);
  if (!stages.empty()) {
    request->plan.stages = std::move(stages);
    request->plan.codec = codec;
  }
  request->pending_end = finished;
  Deliver(finished.request);
}

void Requests::Deliver(const RequestId& id) {
  Request* request = Find(id);
  if (request == nullptr || request->paused || request->delivery_posted) return;
  if (!request->pending.empty() ||
      (request->pending_end && request->pending_end->reason != wire::FinishReason::kError)) {
    Announce(id);
    request = Find(id);
    if (request == nullptr) return;
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

void Requests::Announce(const RequestId& id) {
  const Request* request = Find(id);
  if (request == nullptr || std::exchange(request->answer->started, true)) return;
  const uint32_t context = request->plan.context;
  request->answer->sink->OnStarted(
      {.prompt_tokens = request->prompt_tokens,
       .stages = StatsOf(*request, nullptr).stages,
       .codec = wire::LossOf(request->plan).codec,
       .prompt = request->answer->told_prompt,
       .max_tokens = context > request->prompt_tokens ? MostTokens(*request) : 0});
}

void Requests::AnnounceAfter(Request& request, Time limit) {
  if (request.announce == nullptr) request.announce = std::make_unique<net::Timer>(loop_);
  request.announce->Start(limit, [this, id = request.id] { Announce(id); });
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
    ShowToken(request);
    if (Find(id) == nullptr || request.paused) return false;
  }
  return true;
}

void Requests::ShowToken(Request& request) {
  const RequestId id = request.id;
  const TokenId token = request.pending.front();
  request.pending.pop_front();
  std::optional<SampledLogprob> logprob;
  if (!request.pending_logprobs.empty()) {
    logprob = std::move(request.pending_logprobs.front());
    request.pending_logprobs.pop_front();
  }
  const bool control = request.reader != nullptr && IsShown(*request.vocabulary, token);
  const std::string shown =
      request.text->Push(request.vocabulary->tokenizer->Bytes(token, control));
  Delta delta{.what = TextDelta{shown}, .ids = std::span(&token, 1), .choice = request.choice()};
  if (logprob) delta.logprobs = std::span(&*logprob, 1);
  if (!ShowText(request, shown, delta, false)) return;
  if (request.text->stopped() || (request.reader != nullptr && request.reader->finished())) {
    host_.CancelRequest(id);
    Finish(request, wire::FinishReason::kStop, nullptr);
  }
}

NodeMetrics Requests::Metrics() const {
  NodeMetrics metrics = totals_;
  metrics.models = meters_;
  for (const auto& [id, request] : requests_) {
    const bool active = request->submitted && !request->waits;
    ++(active ? metrics.requests_active : metrics.requests_queued);
    if (request->plan.model_name.empty()) continue;
    ModelMetrics& model = metrics.models[request->plan.model_name];
    ++(active ? model.running : model.waiting);
  }
  return metrics;
}

}  // namespace exo::node
