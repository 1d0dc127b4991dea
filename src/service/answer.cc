#include "service/answer.h"

namespace exo::service {

Answer::Answer(Exchange& exchange, AnswerHead head, const CompletionCall& call)
    : exchange_(exchange),
      head_(std::move(head)),
      stream_(call.stream),
      include_usage_(call.include_usage),
      prompt_param_(call.prompt_param()) {}

void Answer::Start(node::Api& api, CompletionCall& call) {
  generation_ = api.Generate(std::move(call.request), *this);
}

void Answer::SetPaused(bool paused) {
  if (generation_ != nullptr && !ended_) generation_->SetPaused(paused);
}

void Answer::OnStarted(uint32_t) {
  if (!stream_ || streaming_ || ended_) return;
  streaming_ = true;
  exchange_.StartStream();
  if (head_.chat) exchange_.Push(Event(FirstChunk(head_)));
}

void Answer::OnText(std::string_view text, std::span<const TokenId> ids) {
  if (ended_) return;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  if (!stream_) {
    text_ += text;
  } else if (!text.empty()) {
    OnStarted(0);
    exchange_.Push(Event(TextChunk(head_, text)));
  }
}

void Answer::OnDone(wire::FinishReason reason, const node::GenerateStats& stats) {
  if (ended_) return;
  if (reason == wire::FinishReason::kError || reason == wire::FinishReason::kCancelled) {
    return Fail({503, "the answer was ended by the node", "", "cancelled"});
  }
  const AnswerEnd end{reason, stats, ids_};
  if (!stream_) {
    ended_ = true;
    return exchange_.Send(JsonResponse(WholeAnswer(head_, text_, end)));
  }
  OnStarted(0);
  ended_ = true;
  exchange_.Push(Event(FinishChunk(head_, end)));
  if (include_usage_) exchange_.Push(Event(UsageChunk(head_, stats)));
  exchange_.Push(kDoneEvent);
  exchange_.EndStream(true);
}

void Answer::OnError(const node::GenerateError& error) {
  if (!ended_) Fail(FromGenerateError(error, prompt_param_));
}

void Answer::Fail(const ApiError& error) {
  ended_ = true;
  if (!streaming_) return exchange_.Send(ErrorResponse(error));
  exchange_.Push(Event(ErrorJson(error)));
  exchange_.EndStream(false);
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response{.status = error.status, .body = Dump(ErrorJson(error))};
  if (error.status == 429) response.headers.emplace_back("Retry-After", "1");
  if (error.status == 503) response.headers.emplace_back("Retry-After", "5");
  return response;
}

HttpResponse JsonResponse(const Json& json) {
  return {.body = Dump(json)};
}

}  // namespace exo::service
