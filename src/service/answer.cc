#include "service/answer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/sha256.h"
#include "service/presets.h"
#include "service/route_headers.h"
#include "sys/files.h"

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

// All answers share what is left.
void Limit(std::span<node::GenerateRequest> requests, uint64_t left) {
  for (node::GenerateRequest& request : requests) {
    const uint64_t answers = requests.size() * std::max<uint32_t>(1, request.choices);
    const uint64_t each = std::max<uint64_t>(1, left / answers);
    const uint64_t asked = request.max_tokens.value_or(std::numeric_limits<uint32_t>::max());
    request.max_tokens = static_cast<uint32_t>(std::min(each, asked));
  }
}

void AddStages(std::vector<node::StageReport>& all, std::span<const node::StageReport> more) {
  for (const node::StageReport& stage : more) {
    const auto known = std::ranges::find_if(all, [&](const node::StageReport& one) {
      return one.id == stage.id && one.layer_begin == stage.layer_begin &&
             one.layer_end == stage.layer_end;
    });
    if (known == all.end()) {
      all.push_back(stage);
    } else {
      known->milliseconds += stage.milliseconds;
    }
  }
}

}  // namespace

void TakeAsker(HttpRequest& from, std::string_view user, std::span<node::GenerateRequest> to) {
  const Caller& caller = from.caller;
  const std::shared_ptr<const void> lease = std::move(from.lease);
  const node::Asker asker = {.key = caller.key,
                             .name = caller.name,
                             .dialect = from.dialect,
                             .call = sys::RandomValue<RequestId>()};
  for (node::GenerateRequest& request : to) {
    request.lease = lease;
    request.asker = asker;
    request.client = caller.key == 0 ? NumberOf(from.client, user)
                                     : NumberOf(fmt::format("key {:016x}", caller.key), "");
    request.prefix_scope = caller.shares_prefixes ? 0 : caller.key;
  }
}

void TakeAsker(HttpRequest& from, std::string_view user, node::GenerateRequest& to) {
  TakeAsker(from, user, std::span(&to, 1));
}

Answer::Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder, node::Api& api,
               std::vector<node::GenerateRequest> requests, Caller caller)
    : exchange_(exchange),
      encoder_(std::move(encoder)),
      format_(encoder_->format()),
      parts_(requests.size()),
      choices_(requests.at(0).choices),
      batch_(api, std::move(requests), std::move(caller), *this) {}

void Answer::Cancel() {
  if (std::exchange(ended_, true)) return;
  batch_.Cancel();
  if (started_ && format_) return exchange_.EndStream(true);
  exchange_.Send({.status = 202});
}

void Answer::OnStarted(size_t, const node::StartReport& report) {
  if (std::exchange(started_, true)) return;
  const std::string bytes = encoder_->Start(report);
  if (!format_) return;
  exchange_.StartStream(*format_, RouteHeaders(report.stages, report.codec));
  exchange_.Push(bytes);
}

void Answer::OnDelta(size_t part, const node::Delta& delta) {
  if (first_token_ms_ == 0 && !delta.ids.empty()) first_token_ms_ = MillisecondsTaken();
  node::Delta placed = delta;
  placed.choice += static_cast<uint32_t>(part * choices_);
  const std::string bytes = encoder_->Add(placed);
  if (format_) exchange_.Push(bytes);
}

void Answer::OnDone(size_t part, wire::FinishReason reason, const node::GenerateStats& stats) {
  if (parts_ == 1) {
    stats_ = stats;
    stats_.reasons.resize(std::max<size_t>(1, stats_.reasons.size()), reason);
  } else {
    Add(part, reason, stats);
    encoder_->EndPart(part, stats_);
  }
  if (++done_ == parts_) Finish();
}

double Answer::MillisecondsTaken() const {
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start_;
  return took.count();
}

// The time is that of the first token of any part, speeds are those of all together.
void Answer::Add(size_t part, wire::FinishReason reason, const node::GenerateStats& stats) {
  if (done_ == 0) {
    stats_.seed = stats.seed;
    stats_.codec = stats.codec;
    stats_.reasons.resize(parts_ * choices_);
    stats_.stops.resize(parts_ * choices_);
  }
  stats_.prompt_tokens += stats.prompt_tokens;
  stats_.cached_tokens += stats.cached_tokens;
  stats_.drafted_tokens += stats.drafted_tokens;
  stats_.accepted_tokens += stats.accepted_tokens;
  stats_.completion_tokens += stats.completion_tokens;
  AddStages(stats_.stages, stats.stages);
  for (size_t choice = 0; choice < choices_; ++choice) {
    const size_t at = part * choices_ + choice;
    stats_.reasons[at] = choice < stats.reasons.size() ? stats.reasons[choice] : reason;
    if (choice < stats.stops.size()) stats_.stops[at] = stats.stops[choice];
  }
  stats_.ttft_ms = first_token_ms_;
  const double seconds = MillisecondsTaken() / 1000;
  stats_.tokens_per_second = stats_.completion_tokens / seconds;
  stats_.prompt_per_second = (stats_.prompt_tokens - stats_.cached_tokens) / seconds;
}

void Answer::Finish() {
  ended_ = true;
  std::string bytes = encoder_->Done(stats_.reasons[0], stats_);
  Headers timing = TimingHeaders(stats_.stages);
  if (!format_) {
    Headers headers = RouteHeaders(stats_.stages, stats_.codec);
    headers.insert(headers.end(), timing.begin(), timing.end());
    return exchange_.Send({.body = std::move(bytes), .headers = std::move(headers)});
  }
  exchange_.Push(bytes);
  exchange_.EndStream(true, timing);
}

void Answer::OnError(const node::GenerateError& error) {
  ended_ = true;
  if (!started_ || !format_) return exchange_.Send(encoder_->Fail(error));
  exchange_.Push(encoder_->FailMidStream(error));
  exchange_.EndStream(false);
}

std::unique_ptr<Answer> StartAnswer(node::Api& api, std::vector<node::GenerateRequest> requests,
                                    std::unique_ptr<Encoder> encoder, Caller caller,
                                    Exchange& exchange) {
  for (node::GenerateRequest& request : requests) ApplyPreset(api, request);
  exchange.AddHeaders(CallHeaders(requests[0].asker));
  const auto left = caller.gate == nullptr ? std::nullopt : caller.gate->TokensLeft(caller);
  if (left) Limit(requests, *left);
  auto answer = std::make_unique<Answer>(exchange, std::move(encoder), api, std::move(requests),
                                         std::move(caller));
  answer->Begin();
  return answer;
}

Action Generate(node::Api& api, std::vector<node::GenerateRequest> requests,
                std::unique_ptr<Encoder> encoder, Caller caller) {
  return [&api, requests = std::move(requests), encoder = std::move(encoder),
          caller = std::move(caller)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    return StartAnswer(api, std::move(requests), std::move(encoder), std::move(caller), exchange);
  };
}

Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder,
                Caller caller) {
  std::vector<node::GenerateRequest> one;
  one.push_back(std::move(request));
  return Generate(api, std::move(one), std::move(encoder), std::move(caller));
}

}  // namespace exo::service
