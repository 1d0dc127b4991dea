#include "service/llama_server/encode.h"

#include <algorithm>

#include "service/errors.h"
#include "service/timings.h"

namespace exo::service::llama_server {
namespace {

std::string Event(const Json& json) {
  return "data: " + Dump(json) + "\n\n";
}

Json Probability(const node::TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<uint8_t>(c));
  return {{"token", token.bytes},
          {"bytes", std::move(bytes)},
          {"logprob", std::max(token.logprob, -9999.0)}};
}

void AddProbabilities(Json& list, std::span<const node::SampledLogprob> tokens) {
  for (const node::SampledLogprob& one : tokens) {
    Json json = Probability(one.token);
    json["top_logprobs"] = Json::array();
    for (const node::TokenLogprob& top : one.top) json["top_logprobs"].push_back(Probability(top));
    list.push_back(std::move(json));
  }
}

// A raw prompt has no reasoning and no calls: whatever comes is text.
std::string_view TextOf(const node::Delta& delta) {
  if (const auto* text = std::get_if<node::TextDelta>(&delta.what)) return text->text;
  if (const auto* thought = std::get_if<node::ReasoningDelta>(&delta.what)) return thought->text;
  return std::get<node::ToolCallDelta>(delta.what).arguments;
}

class CompletionEncoder final : public Encoder {
 public:
  explicit CompletionEncoder(EncoderOptions options) : options_(std::move(options)) {}

  std::optional<StreamFormat> format() const override {
    return options_.stream ? std::optional(kServerSentEvents) : std::nullopt;
  }
  std::string Start(const node::StartReport&) override { return ""; }
  std::string Add(const node::Delta& delta) override {
    if (options_.warms) return "";
    const std::string_view text = TextOf(delta);
    if (!options_.stream) {
      text_ += text;
      ids_.insert(ids_.end(), delta.ids.begin(), delta.ids.end());
      AddProbabilities(probabilities_, delta.logprobs);
      return "";
    }
    if (text.empty() && delta.logprobs.empty()) return "";
    Json json = {{"index", 0},
                 {"content", text},
                 {"tokens", std::vector<TokenId>(delta.ids.begin(), delta.ids.end())},
                 {"stop", false}};
    if (!delta.logprobs.empty()) AddProbabilities(json["completion_probabilities"], delta.logprobs);
    return Event(json);
  }
  std::string Done(wire::FinishReason reason, const node::GenerateStats& all) override {
    node::GenerateStats stats = all;
    if (options_.warms) {
      reason = wire::FinishReason::kLength;
      stats.completion_tokens = 0;
    }
    const bool word = !options_.warms && !stats.stops.empty() && !stats.stops[0].empty();
    Json json = {{"index", 0},
                 {"content", text_},
                 {"tokens", ids_},
                 {"stop", true},
                 {"model", options_.model},
                 {"stop_type", reason == wire::FinishReason::kLength ? "limit"
                               : word                                ? "word"
                                                                     : "eos"},
                 {"stopping_word", word ? stats.stops[0] : ""},
                 {"tokens_predicted", stats.completion_tokens},
                 {"tokens_evaluated", stats.prompt_tokens},
                 {"tokens_cached", stats.cached_tokens},
                 {"truncated", false},
                 {"generation_settings", {{"seed", stats.seed}}},
                 {"timings", TimingsJson(stats)}};
    if (!probabilities_.empty()) json["completion_probabilities"] = std::move(probabilities_);
    return options_.stream ? Event(json) : Dump(json);
  }
  HttpResponse Fail(const node::GenerateError& error) override {
    return ErrorResponse(FromGenerateError(error, "prompt"));
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Event(ErrorJson(FromGenerateError(error, "prompt")));
  }

 private:
  const EncoderOptions options_;
  std::string text_;
  std::vector<TokenId> ids_;
  Json probabilities_ = Json::array();
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options) {
  return std::make_unique<CompletionEncoder>(std::move(options));
}

Json ErrorJson(const ApiError& error) {
  const char* type = error.code == "context_length_exceeded" ? "exceed_context_size_error"
                     : error.status == 404                   ? "not_found_error"
                     : error.status == 401                   ? "authentication_error"
                     : error.status == 403                   ? "permission_error"
                     : error.status == 429                   ? "rate_limit_error"
                     : error.status == 503                   ? "unavailable_error"
                     : error.status >= 500                   ? "server_error"
                                                             : "invalid_request_error";
  return {{"error", {{"code", error.status}, {"message", error.message}, {"type", type}}}};
}

HttpResponse ErrorResponse(const ApiError& error) {
  return WithRetryAfter({.status = error.status, .body = Dump(ErrorJson(error))}, error);
}

}  // namespace exo::service::llama_server
