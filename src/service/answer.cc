#include "service/answer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/sha256.h"
#include "service/route_headers.h"

namespace exo::service {

namespace {

uint64_t NumberOf(std::string_view asker, std::string_view user) {
  Sha256 hash;
  hash.UpdateU64(asker.size()).Update(asker).Update(user);
  const Hash256 whole = hash.Finish();
  uint64_t number = 0;
  std::memcpy(&number, whole.bytes.data(), sizeof(number));
  return number;
}

// Several choices share what is left.
void Limit(node::GenerateRequest& request, uint64_t left) {
  const uint64_t each = std::max<uint64_t>(1, left / std::max<uint32_t>(1, request.choices));
  const uint64_t asked = request.max_tokens.value_or(std::numeric_limits<uint32_t>::max());
  request.max_tokens = static_cast<uint32_t>(std::min(each, asked));
}

}  // namespace

void TakeAsker(HttpRequest& from, std::string_view user, node::GenerateRequest& to) {
  const Caller& caller = from.caller;
  to.lease = std::move(from.lease);
  to.client = caller.key == 0 ? NumberOf(from.client, user)
                              : NumberOf(fmt::format("key {:016x}", caller.key), "");
  to.prefix_scope = caller.shares_prefixes ? 0 : caller.key;
}

Answer::Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder, Caller caller)
    : exchange_(exchange),
      encoder_(std::move(encoder)),
      caller_(std::move(caller)),
      format_(encoder_->format()) {}

void Answer::Count(uint64_t tokens) {
  if (caller_.gate != nullptr) caller_.gate->CountTokens(caller_, tokens);
}

void Answer::Start(node::Api& api, node::GenerateRequest request) {
  generation_ = api.Generate(std::move(request), *this);
}

void Answer::Cancel() {
  if (ended_) return;
  ended_ = true;
  generation_.reset();
  if (started_ && format_) return exchange_.EndStream(true);
  exchange_.Send({.status = 202});
}

void Answer::SetPaused(bool paused) {
  if (generation_ != nullptr && !ended_) generation_->SetPaused(paused);
}

void Answer::OnStarted(const node::StartReport& report) {
  if (started_ || ended_) return;
  started_ = true;
  Count(report.prompt_tokens);
  const std::string bytes = encoder_->Start(report);
  if (!format_) return;
  exchange_.StartStream(*format_, RouteHeaders(report.stages));
  exchange_.Push(bytes);
}

void Answer::OnDelta(const node::Delta& delta) {
  if (ended_) return;
  Count(delta.ids.size());
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

std::unique_ptr<Answer> StartAnswer(node::Api& api, node::GenerateRequest request,
                                    std::unique_ptr<Encoder> encoder, Caller caller,
                                    Exchange& exchange) {
  const auto left = caller.gate == nullptr ? std::nullopt : caller.gate->TokensLeft(caller);
  if (left) Limit(request, *left);
  auto answer = std::make_unique<Answer>(exchange, std::move(encoder), std::move(caller));
  answer->Start(api, std::move(request));
  return answer;
}

Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder,
                Caller caller) {
  return [&api, request = std::move(request), encoder = std::move(encoder),
          caller = std::move(caller)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    return StartAnswer(api, std::move(request), std::move(encoder), std::move(caller), exchange);
  };
}

}  // namespace exo::service
