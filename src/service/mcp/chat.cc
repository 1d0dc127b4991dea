#include "service/mcp/chat.h"

#include <fmt/format.h>

#include <algorithm>

#include "service/chat_messages.h"
#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/mcp/events.h"
#include "service/mcp/rpc.h"
#include "service/mcp/tools.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::mcp {
namespace {

Parsed<> ReadConversation(const Json& arguments, std::string_view body,
                          node::GenerateRequest& request) {
  const std::string prompt = TRY(ReadText(arguments, "prompt"));
  const bool has_messages = Find(arguments, "messages") != nullptr;
  if (prompt.empty() != has_messages) {
    return BadValue("prompt", has_messages
                                  ? "'prompt' and 'messages' are both given; send one of them"
                                  : "there is no question: give 'prompt' (a text) or 'messages'");
  }
  if (has_messages) {
    request.messages = TRY(ReadMessages(arguments, MemberText(body, {"params", "arguments"})));
  } else {
    request.messages = {{.role = "user", .content = prompt}};
  }
  if (std::string system = TRY(ReadText(arguments, "system")); !system.empty()) {
    request.messages.insert(request.messages.begin(),
                            {.role = "system", .content = std::move(system)});
  }
  return {};
}

Parsed<> ReadSchema(const Json& arguments, std::string_view body, grammar::Cache& grammars,
                    node::GenerateRequest& request) {
  const Json* schema = Find(arguments, "schema");
  if (schema == nullptr) return {};
  if (!schema->is_object()) return BadValue("schema", "'schema' must be an object: a JSON schema");
  return SetSchema(body, {"params", "arguments", "schema"}, "schema", grammars, request);
}

// What a model that called the tool should do about it.
std::string SentenceFor(const node::GenerateError& error) {
  const std::string& message = error.error.message;
  switch (error.refusal) {
    case node::Refusal::kUnknownModel:
      return message + "; the tool 'models' lists those that there are";
    case node::Refusal::kContextLength:
      return message + "; send less";
    case node::Refusal::kQueueFull:
    case node::Refusal::kLost:
      return message + "; try again";
    default:
      return message;
  }
}

class ChatEncoder final : public Encoder {
 public:
  explicit ChatEncoder(ChatEncoding options)
      : options_(std::move(options)), total_(options_.max_tokens) {}

  std::optional<StreamFormat> format() const override {
    return options_.stream ? std::optional(kServerSentEvents) : std::nullopt;
  }
  std::string Start(const node::StartReport& report) override {
    if (report.max_tokens > 0)
      total_ = std::min(total_ == 0 ? UINT32_MAX : total_, report.max_tokens);
    return "";
  }

  std::string Add(const node::Delta& delta) override {
    tokens_ += delta.ids.size();
    std::string_view piece;
    if (const auto* text = std::get_if<node::TextDelta>(&delta.what)) {
      text_ += piece = text->text;
    } else if (const auto* thought = std::get_if<node::ReasoningDelta>(&delta.what)) {
      reasoning_ += piece = thought->text;
    }
    // Progress must grow from one to the next.
    if (options_.progress_token.is_null() || delta.ids.empty()) return "";
    Json params = {{"progressToken", options_.progress_token},
                   {"progress", tokens_},
                   {"message", std::string(piece)}};
    if (total_ > 0) params["total"] = total_;
    return Event(NotificationMessage("notifications/progress", std::move(params)));
  }

  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    return Framed(ResultMessage(options_.id, Result(reason, stats)));
  }
  HttpResponse Fail(const node::GenerateError& error) override {
    return {.body = Dump(ResultMessage(options_.id, ToolError(SentenceFor(error))))};
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Event(ResultMessage(options_.id, ToolError(SentenceFor(error))));
  }

 private:
  std::string Framed(const Json& message) const {
    return options_.stream ? Event(message) : Dump(message);
  }
  Json Result(wire::FinishReason reason, const node::GenerateStats& stats) const {
    Json devices = Json::array();
    for (const node::StageReport& stage : stats.stages) devices.push_back(stage.node);
    Json structured = {{"text", text_},
                       {"model", options_.model},
                       {"finish_reason", reason == wire::FinishReason::kLength ? "length" : "stop"},
                       {"prompt_tokens", stats.prompt_tokens},
                       {"completion_tokens", stats.completion_tokens},
                       {"tokens_per_second", stats.tokens_per_second},
                       {"seed", stats.seed},
                       {"devices", std::move(devices)}};
    if (!reasoning_.empty()) structured["reasoning"] = reasoning_;
    return ToolResult(text_, std::move(structured));
  }

  const ChatEncoding options_;
  uint32_t total_;  // that the answer can have; 0: not known
  uint64_t tokens_ = 0;
  std::string text_, reasoning_;
};

}  // namespace

Parsed<node::GenerateRequest> ReadChat(const Json& arguments, std::string_view body,
                                       grammar::Cache& grammars) {
  node::GenerateRequest request;
  request.model = TRY(ReadOptionalModelName(arguments));
  TRY(ReadConversation(arguments, body, request));
  const auto limit = TRY(ReadTokenLimit(arguments, "max_tokens"));
  request.max_tokens = limit ? limit->tokens : kDefaultAnswerTokens;
  TRY(ReadSampler(arguments, {}, request));
  TRY(ReadSeed(arguments, request));
  TRY(ReadSchema(arguments, body, grammars, request));
  return request;
}

std::unique_ptr<Encoder> MakeChatEncoder(ChatEncoding options) {
  return std::make_unique<ChatEncoder>(std::move(options));
}

}  // namespace exo::service::mcp
