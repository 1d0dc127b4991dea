#include "service/answer.h"

#include <cstring>

#include "base/sha256.h"
#include "service/route_headers.h"

namespace exo::service {

uint64_t ClientNumber(std::string_view asker, std::string_view user) {
  Sha256 hash;
  hash.UpdateU64(asker.size()).Update(asker).Update(user);
  const Hash256 whole = hash.Finish();
  uint64_t number = 0;
  std::memcpy(&number, whole.bytes.data(), sizeof(number));
  return number;
}

Answer::Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder)
    : exchange_(exchange), encoder_(std::move(encoder)), format_(encoder_->format()) {}

void Answer::Start(node::Api& api, node::GenerateRequest request) {
  generation_ = api.Generate(std::move(request), *this);
}

void Answer::SetPaused(bool paused) {
  if (generation_ != nullptr && !ended_) generation_->SetPaused(paused);
}

void Answer::OnStarted(const node::StartReport& report) {
  if (started_ || ended_) return;
  started_ = true;
  const std::string bytes = encoder_->Start(report);
  if (!format_) return;
  exchange_.StartStream(*format_, RouteHeaders(report.stages));
  exchange_.Push(bytes);
}

void Answer::OnDelta(const node::Delta& delta) {
  if (ended_) return;
  const std::string bytes = encoder_->Add(delta);
  if (format_) exchange_.Push(bytes);
}

void Answer::OnDone(wire::FinishReason reason, const node::GenerateStats& stats) {
  if (ended_) return;
  if (reason == wire::FinishReason::kError || reason == wire::FinishReason::kCancelled) {
    return OnError({{ErrorCode::kCancelled, "the answer was ended by the node"}});
  }
  OnStarted({.prompt_tokens = stats.prompt_tokens, .stages = stats.stages});
  ended_ = true;
  std::string bytes = encoder_->Done(reason, stats);
  Headers timing = TimingHeaders(stats.stages);
  if (!format_) {
    Headers headers = RouteHeaders(stats.stages);
    headers.insert(headers.end(), timing.begin(), timing.end());
    return exchange_.Send({.body = std::move(bytes), .headers = std::move(headers)});
  }
  exchange_.Push(bytes);
  exchange_.EndStream(true, timing);
}

void Answer::OnError(const node::GenerateError& error) {
  if (ended_) return;
  ended_ = true;
  if (!started_ || !format_) return exchange_.Send(encoder_->Fail(error));
  exchange_.Push(encoder_->FailMidStream(error));
  exchange_.EndStream(false);
}

Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder) {
  return [&api, request = std::move(request),
          encoder = std::move(encoder)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    auto answer = std::make_unique<Answer>(exchange, std::move(encoder));
    answer->Start(api, std::move(request));
    return answer;
  };
}

}  // namespace exo::service
