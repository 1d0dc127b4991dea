#include "service/openai/encode.h"

#include <vector>

#include "service/errors.h"
#include "service/openai/errors.h"
#include "service/openai/reports.h"

namespace exo::service::openai {
namespace {

// One server-sent event.
std::string Event(const Json& json) {
  return "data: " + Dump(json) + "\n\n";
}

class OpenAiEncoder : public Encoder {
 public:
  explicit OpenAiEncoder(EncoderOptions options) : options_(std::move(options)) {}

  HttpResponse Fail(const node::GenerateError& error) override {
    return ErrorResponse(FromGenerateError(error, options_.prompt_param));
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Event(ErrorJson(FromGenerateError(error, options_.prompt_param)));
  }

 protected:
  bool chat() const { return options_.chat; }
  // Every delta comes by here first.
  void Count(const node::Delta& delta) {
    ids_.insert(ids_.end(), delta.ids.begin(), delta.ids.end());
    called_ = called_ || std::holds_alternative<node::ToolCallDelta>(delta.what);
  }
  const char* FinishName(wire::FinishReason reason) const {
    if (reason == wire::FinishReason::kLength) return "length";
    return called_ ? "tool_calls" : "stop";
  }
  Json Object(bool chunk, Json choices) const {
    const char* name = chunk ? "chat.completion.chunk" : "chat.completion";
    return {{"id", options_.id},
            {"object", chat() ? name : "text_completion"},
            {"created", options_.created},
            {"model", options_.model},
            {"choices", std::move(choices)}};
  }

  const EncoderOptions options_;
  std::vector<TokenId> ids_;
  bool called_ = false;  // a tool
};

Json FunctionCall(std::string_view id, std::string_view name, std::string_view arguments) {
  return {
      {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

class StreamEncoder final : public OpenAiEncoder {
 public:
  using OpenAiEncoder::OpenAiEncoder;

  std::optional<StreamFormat> format() const override { return kServerSentEvents; }

  std::string Start(uint32_t) override {
    if (!chat()) return "";
    return Event(Chunk({{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}}));
  }

  std::string Add(const node::Delta& delta) override {
    Count(delta);
    return std::visit([this](const auto& what) { return Encode(what); }, delta.what);
  }

  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    Json last = Chunk(chat() ? Json::object() : Json(""), FinishName(reason));
    AddReports(last, stats, ids_);
    std::string bytes = Event(last);
    if (options_.include_usage) {
      Json usage = Object(true, Json::array());
      usage["usage"] = UsageJson(stats);
      bytes += Event(usage);
    }
    return bytes + "data: [DONE]\n\n";
  }

 private:
  Json Chunk(Json delta_or_text, Json finish = nullptr, Json logprobs = nullptr) const {
    Json choice = {
        {"index", 0}, {"logprobs", std::move(logprobs)}, {"finish_reason", std::move(finish)}};
    choice[chat() ? "delta" : "text"] = std::move(delta_or_text);
    return Object(true, Json::array({std::move(choice)}));
  }

  std::string Encode(const node::TextDelta& delta) {
    if (delta.text.empty()) return "";
    shown_ += delta.text.size();
    return Event(Chunk(chat() ? Json{{"content", delta.text}} : Json(delta.text)));
  }
  // A text completion has one text only.
  std::string Encode(const node::ReasoningDelta& delta) {
    if (!chat()) return Encode(node::TextDelta{delta.text});
    return delta.text.empty() ? "" : Event(Chunk({{"reasoning_content", delta.text}}));
  }
  std::string Encode(const node::ToolCallDelta& delta) {
    if (!chat()) return Encode(node::TextDelta{delta.arguments});
    // Only the first piece of a call has its id, type and name.
    Json call = delta.id.empty() ? Json{{"function", {{"arguments", delta.arguments}}}}
                                 : FunctionCall(delta.id, delta.name, delta.arguments);
    call["index"] = delta.index;
    return Event(Chunk({{"tool_calls", Json::array({std::move(call)})}}));
  }
  std::string Encode(const node::LogprobsDelta& delta) {
    if (!chat()) return Event(Chunk("", nullptr, CompletionLogprobs(delta.tokens, shown_)));
    return Event(Chunk(Json::object(), nullptr,
                       {{"content", ChatLogprobs(delta.tokens)}, {"refusal", nullptr}}));
  }

  size_t shown_ = 0;  // bytes of text
};

class WholeEncoder final : public OpenAiEncoder {
 public:
  using OpenAiEncoder::OpenAiEncoder;

  std::optional<StreamFormat> format() const override { return std::nullopt; }
  std::string Start(uint32_t) override { return ""; }

  std::string Add(const node::Delta& delta) override {
    Count(delta);
    std::visit([this](const auto& what) { Collect(what); }, delta.what);
    return "";
  }

  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    Json choice = {{"index", 0}, {"logprobs", nullptr}, {"finish_reason", FinishName(reason)}};
    if (!logprobs_.empty()) {
      choice["logprobs"] = chat() ? Json{{"content", ChatLogprobs(logprobs_)}, {"refusal", nullptr}}
                                  : CompletionLogprobs(logprobs_, 0);
    }
    if (chat()) {
      choice["message"] = Message();
    } else {
      choice["text"] = text_;
    }
    Json json = Object(false, Json::array({std::move(choice)}));
    json["usage"] = UsageJson(stats);
    AddReports(json, stats, ids_);
    return Dump(json);
  }

 private:
  struct Call {
    std::string id, name, arguments;
  };

  void Collect(const node::TextDelta& delta) { text_ += delta.text; }
  void Collect(const node::ReasoningDelta& delta) { (chat() ? reasoning_ : text_) += delta.text; }
  void Collect(const node::ToolCallDelta& delta) {
    if (!chat()) return Collect(node::TextDelta{delta.arguments});
    if (calls_.size() <= delta.index) calls_.resize(delta.index + 1);
    Call& call = calls_[delta.index];
    call.id += delta.id;
    call.name += delta.name;
    call.arguments += delta.arguments;
  }
  void Collect(const node::LogprobsDelta& delta) {
    logprobs_.insert(logprobs_.end(), delta.tokens.begin(), delta.tokens.end());
  }

  Json Message() const {
    Json message = {{"role", "assistant"},
                    {"content", text_},
                    {"refusal", nullptr},
                    {"annotations", Json::array()}};
    if (text_.empty() && !calls_.empty()) message["content"] = nullptr;
    if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
    for (const Call& call : calls_)
      message["tool_calls"].push_back(FunctionCall(call.id, call.name, call.arguments));
    return message;
  }

  std::string text_, reasoning_;
  std::vector<Call> calls_;
  std::vector<node::SampledLogprob> logprobs_;
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options) {
  if (options.stream) return std::make_unique<StreamEncoder>(std::move(options));
  return std::make_unique<WholeEncoder>(std::move(options));
}

}  // namespace exo::service::openai
