// Requests: the choices of an answer, and their ends.
#include <algorithm>

#include "base/check.h"
#include "engine/readout.h"
#include "node/requests_impl.h"
#include "sys/files.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

double MillisecondsOf(Time time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// The prompt's figures are the first choice's; the choices ran beside each other, so their tokens
// and speeds add up.
void Add(GenerateStats& all, const GenerateStats& one, uint32_t choice) {
  if (choice == 0) {
    all.prompt_tokens = one.prompt_tokens;
    all.cached_tokens = one.cached_tokens;
    all.seed = one.seed;
    all.codec = one.codec;
    all.prompt_per_second = one.prompt_per_second;
    all.values = one.values;
  }
  all.completion_tokens += one.completion_tokens;
  all.drafted_tokens += one.drafted_tokens;
  all.accepted_tokens += one.accepted_tokens;
  all.tokens_per_second += one.tokens_per_second;
  for (const StageReport& stage : one.stages) {
    const auto same = std::ranges::find_if(all.stages, [&](const StageReport& other) {
      return other.id == stage.id && other.layer_begin == stage.layer_begin;
    });
    if (same != all.stages.end()) {
      same->milliseconds += stage.milliseconds;
    } else {
      all.stages.push_back(stage);
    }
  }
}

decltype(Delta::what) WhatOf(const chat::Piece& piece) {
  switch (piece.kind) {
    case chat::Piece::Kind::kReasoning:
      return ReasoningDelta{piece.text};
    case chat::Piece::Kind::kCall:
      return ToolCallDelta{.index = piece.call, .id = piece.id, .name = piece.text};
    case chat::Piece::Kind::kArguments:
      return ToolCallDelta{.index = piece.call, .arguments = piece.text};
    default:
      return TextDelta{piece.text};
  }
}

// Why a request has failed, for the log and the list of requests: what is said of its input may
// quote it, so that is for its client only.
std::string WhatMayBeTold(const GenerateError& error) {
  if (error.refusal != Refusal::kBadInput) return error.error.message;
  return fmt::format("its {} was refused; its client was told why",
                     error.field.empty() ? "prompt" : fmt::format("'{}'", error.field));
}

}  // namespace

// A choice that is refused at once ends the answer: then there is nothing left to begin.
bool Requests::BeginOthers(const RequestId& id) {
  const std::shared_ptr<Answer> answer = Find(id)->answer;
  const std::vector<TokenId> prompt = std::exchange(answer->prompt, {});
  for (Request* first = Find(id); first != nullptr && answer->begun < answer->choices;
       first = Find(id)) {
    auto other = std::make_unique<Request>();
    other->id = sys::RandomValue<RequestId>();
    other->request = first->request;  // its texts have gone to the tokenizer
    other->request.sampler.choice = answer->begun++;
    other->answer = answer;
    other->model = first->model;
    other->vocabulary = first->vocabulary;
    other->prompt_tokens = first->prompt_tokens;
    other->text = std::make_unique<engine::TextStream>(first->request.stop);
    Read(*other, first->reading);
    other->plan = first->plan;
    other->adapters = first->adapters;
    other->paused = first->paused;
    other->start = sys::Now();
    records_.Begin(answer->record->id(), other->request.model, other->request.asker, other->start);
    Request& placed = *other;
    answer->running.push_back(other->id);
    requests_[other->id] = std::move(other);
    host_.OnRequestChanged(placed.id, {.model = placed.request.model, .state = "started"});
    SubmitChoice(placed, prompt);
  }
  return Find(id) != nullptr;
}

void Requests::Read(Request& request, std::shared_ptr<const Reading> reading) {
  request.reading = std::move(reading);
  if (request.reading != nullptr)
    request.reader = chat::MakeAnswerReader(request.reading->format, request.reading->options);
}

bool Requests::ShowText(Request& request, std::string_view text, Delta delta, bool last) {
  const RequestId id = request.id;
  const std::shared_ptr<Answer> answer = request.answer;
  if (request.reader == nullptr) {
    answer->sink->OnDelta(delta);
    return Find(id) != nullptr;
  }
  std::vector<chat::Piece> pieces;
  request.reader->Push(text, pieces);
  if (last) request.reader->Finish(pieces);
  if (pieces.empty() && !delta.ids.empty()) pieces.emplace_back();
  for (const chat::Piece& piece : pieces) {
    delta.what = WhatOf(piece);
    answer->sink->OnDelta(delta);
    if (Find(id) == nullptr) return false;
    delta.ids = {};  // the first piece tells of them
    delta.logprobs = {};
  }
  return true;
}

GenerateStats Requests::StatsOf(const Request& request, const wire::Finished* finished) const {
  GenerateStats stats;
  stats.prompt_tokens = request.prompt_tokens;
  stats.cached_tokens = request.cached;
  stats.completion_tokens = request.generated;
  if (finished != nullptr) {
    stats.drafted_tokens = finished->drafted;
    stats.accepted_tokens = finished->accepted;
    stats.values = finished->values;
    const auto& readout = request.request.readout;
    if (readout && readout->unit && request.readout != wire::Readout::kLogits)
      engine::MakeUnit(stats.values, readout->dimensions);
  }
  stats.seed = request.request.sampler.seed;
  stats.codec = wire::LossOf(request.plan).codec;
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
    for (const wire::StageTime& time : finished != nullptr ? finished->stages : request.stages) {
      if (time.node == stage.node)
        report.milliseconds += static_cast<double>(time.microseconds) / 1000;
    }
    stats.stages.push_back(std::move(report));
  }
  return stats;
}

void Requests::Finish(Request& request, wire::FinishReason reason, const wire::Finished* finished) {
  const std::string rest = request.text->Finish();
  const std::string stop = request.text->stopped_by();
  const RequestId id = request.id;
  const std::shared_ptr<Answer> answer = request.answer;
  const Delta delta{.what = TextDelta{rest}, .ids = {}, .choice = request.choice()};
  if ((!rest.empty() || request.reader != nullptr) && !ShowText(request, rest, delta, true)) return;
  if (!BeginOthers(id)) return;
  const GenerateStats stats = StatsOf(request, finished);
  const uint32_t choice = request.choice();
  const std::shared_ptr<const Reading> reading = request.reading;
  End(id, {.reason = reason,
           .line = fmt::format("{} prompt tokens, {} generated", stats.prompt_tokens,
                               stats.completion_tokens)});
  Add(answer->stats, stats, choice);
  if (answer->first_token != Time{})
    answer->stats.ttft_ms = MillisecondsOf(answer->first_token - answer->start);
  answer->stats.reasons.resize(answer->choices);
  answer->stats.reasons[choice] = reason;
  answer->stats.stops.resize(answer->choices);
  answer->stats.stops[choice] = stop;
  if (reading != nullptr) answer->stats.loose_tools = reading->loose_tools;
  if (!answer->running.empty()) return;
  answer->record->OnSpeed(answer->stats.tokens_per_second);
  answer->sink->OnDone(answer->stats.reasons[0], answer->stats);
}

std::unique_ptr<Requests::Request> Requests::End(const RequestId& id, Ending ending) {
  auto found = requests_.extract(id);
  CHECK(!found.empty());  // a request ends once
  auto ended = std::move(found.mapped());
  std::erase(ended->answer->running, id);
  records_.End(*ended->answer->record, ending.state, ending.why);
  MeasureEnd(*ended, ending.state, ending.reason);
  host_.OnRequestChanged(
      id, {.model = ended->request.model, .state = "ended", .detail = std::move(ending.line)});
  return ended;
}

// One choice's error is the whole answer's.
void Requests::FailRequest(const RequestId& id, const GenerateError& error) {
  Request* request = Find(id);
  if (request == nullptr) return;
  const std::string why = host_.LogsPrompts() ? error.error.message : WhatMayBeTold(error);
  const bool canceled = error.refusal == Refusal::kCanceled;
  const auto ended = End(id, {.state = canceled ? RequestState::kCanceled : RequestState::kFailed,
                              .why = why,
                              .line = why});
  Drop(*ended->answer, "another choice of its answer failed");
  ended->answer->sink->OnError(error);
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

bool Requests::Cancel(const RequestId& call) {
  std::vector<RequestId> all;
  for (const auto& [id, request] : requests_)
    if (request->answer->record->id() == call) all.push_back(id);
  for (const RequestId& id : all) {
    const Request* request = Find(id);
    if (request == nullptr) continue;  // a choice of an answer that has failed by now
    if (request->submitted) host_.CancelRequest(id);
    FailRequest(id,
                Error{ErrorCode::kCancelled, "the request was canceled from the list of requests"},
                Refusal::kCanceled);
  }
  return !all.empty();
}

void Requests::SetPaused(const Answer& answer, bool paused) {
  const std::vector<RequestId> running = answer.running;  // delivering may end them
  for (const RequestId& id : running) {
    Request* request = Find(id);
    if (request == nullptr || request->paused == paused) continue;
    request->paused = paused;
    if (request->submitted) host_.PauseRequest(id, paused);
    Deliver(id);
  }
}

void Requests::Drop(const Answer& answer, std::string_view why) {
  const std::vector<RequestId> running = answer.running;
  for (const RequestId& id : running) {
    const Request* request = Find(id);
    if (request == nullptr) continue;
    if (request->submitted) host_.CancelRequest(id);
    End(id, {.state = RequestState::kCanceled,
             .why = std::string(why),
             .line = fmt::format("{} after {} tokens", why, request->generated)});
  }
}

}  // namespace exo::node
