#include "service/ollama/encode.h"

#include <fmt/chrono.h>

#include <chrono>

#include "service/errors.h"

namespace exo::service::ollama {
namespace {

// JSON lines know no comment: nothing is sent in silence.
constexpr StreamFormat kLines{"application/x-ndjson", ""};

std::string Line(const Json& json) {
  return Dump(json) + "\n";
}

std::string Now() {
  return Timestamp(std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count());
}

Json LogprobJson(const node::TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<uint8_t>(c));
  return {{"token", token.bytes},
          {"logprob", std::max(token.logprob, -9999.0)},
          {"bytes", std::move(bytes)}};
}

int64_t Nanoseconds(double count, double per_second) {
  return per_second > 0 ? static_cast<int64_t>(count / per_second * 1e9) : 0;
}

class LineEncoder final : public Encoder {
 public:
  explicit LineEncoder(EncoderOptions options) : options_(std::move(options)) {}

  std::optional<StreamFormat> format() const override {
    return options_.stream ? std::optional(kLines) : std::nullopt;
  }
  std::string Start(const node::StartReport& report) override {
    if (options_.context) context_.assign(report.prompt.begin(), report.prompt.end());
    return "";
  }
  std::string Add(const node::Delta& delta) override {
    if (options_.context) context_.insert(context_.end(), delta.ids.begin(), delta.ids.end());
    for (const node::SampledLogprob& one : delta.logprobs) {
      Json json = LogprobJson(one.token);
      json["top_logprobs"] = Json::array();
      for (const node::TokenLogprob& top : one.top)
        json["top_logprobs"].push_back(LogprobJson(top));
      logprobs_.push_back(std::move(json));
    }
    std::visit([this](const auto& what) { Collect(what); }, delta.what);
    if (!options_.stream || (text_.empty() && thinking_.empty() && logprobs_.empty())) return "";
    return Line(Take());
  }
  // The calls come at the end: a line has a whole call, with its arguments as an object.
  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    Json json = Take();
    if (options_.chat && !calls_.empty()) json["message"]["tool_calls"] = ToolCalls();
    if (options_.context) json["context"] = context_;
    json["done"] = true;
    json["done_reason"] = reason == wire::FinishReason::kLength ? "length" : "stop";
    const uint32_t computed = stats.prompt_tokens - stats.cached_tokens;
    const int64_t prompt = Nanoseconds(computed, stats.prompt_per_second);
    const double decoded = stats.completion_tokens > 1 ? stats.completion_tokens - 1 : 0;
    const int64_t eval = Nanoseconds(decoded, stats.tokens_per_second);
    const auto first = static_cast<int64_t>(stats.ttft_ms * 1e6);
    json["total_duration"] = std::max(first, prompt) + eval;
    json["load_duration"] = std::max<int64_t>(first - prompt, 0);
    json["prompt_eval_count"] = stats.prompt_tokens;
    json["prompt_eval_duration"] = prompt;
    json["eval_count"] = stats.completion_tokens;
    json["eval_duration"] = eval;
    return Line(json);
  }
  HttpResponse Fail(const node::GenerateError& error) override {
    return ErrorResponse(FromGenerateError(error, "prompt"));
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Line(ErrorJson(FromGenerateError(error, "prompt")));
  }

 private:
  struct Tool {
    std::string id, name, arguments;
  };

  void Collect(const node::TextDelta& what) { text_ += what.text; }
  void Collect(const node::ReasoningDelta& what) { thinking_ += what.text; }
  void Collect(const node::ToolCallDelta& what) {
    if (calls_.size() <= what.index) calls_.resize(what.index + 1);
    calls_[what.index].id += what.id;
    calls_[what.index].name += what.name;
    calls_[what.index].arguments += what.arguments;
  }
  Json ToolCalls() const {
    Json list = Json::array();
    for (const Tool& call : calls_) {
      const auto arguments = ParseJson(call.arguments);
      const bool whole = arguments && arguments->is_object();
      list.push_back({{"id", call.id},
                      {"function",
                       {{"index", list.size()},
                        {"name", call.name},
                        {"arguments", whole ? *arguments : Json::object()}}}});
    }
    return list;
  }
  // What has come since the last line.
  Json Take() {
    Json json = {{"model", options_.model}, {"created_at", Now()}, {"done", false}};
    Json& holder = options_.chat ? json["message"] : json;
    if (options_.chat) holder["role"] = "assistant";
    holder[options_.chat ? "content" : "response"] = std::exchange(text_, {});
    if (!thinking_.empty()) holder["thinking"] = std::exchange(thinking_, {});
    if (!logprobs_.empty()) json["logprobs"] = std::exchange(logprobs_, Json::array());
    return json;
  }

  const EncoderOptions options_;
  std::string text_, thinking_;
  std::vector<Tool> calls_;
  Json logprobs_ = Json::array();
  std::vector<TokenId> context_;
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options) {
  return std::make_unique<LineEncoder>(std::move(options));
}

std::string Timestamp(int64_t seconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

Json EmptyAnswer(const std::string& model, bool chat, const char* why) {
  Json json = {{"model", model}, {"created_at", Now()}, {"done", true}, {"done_reason", why}};
  if (chat) {
    json["message"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    json["response"] = "";
  }
  return json;
}

Json ErrorJson(const ApiError& error) {
  return {{"error", error.message}};
}

HttpResponse ErrorResponse(const ApiError& error) {
  const unsigned status = error.code == "queue_full" ? 503 : error.status;  // as Ollama's own
  return WithRetryAfter({.status = status, .body = Dump(ErrorJson(error))}, error);
}

HttpResponse Failed(const Error& error) {
  return ErrorResponse(FromModelError(error));
}

}  // namespace exo::service::ollama
