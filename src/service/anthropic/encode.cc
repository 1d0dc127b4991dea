#include "service/anthropic/encode.h"

#include <algorithm>

#include "service/anthropic/errors.h"
#include "service/errors.h"

namespace exo::service::anthropic {
namespace {

constexpr StreamFormat kEvents{"text/event-stream; charset=utf-8",
                               "event: ping\ndata: {\"type\":\"ping\"}\n\n"};

// Clients skip events without their `event:` line.
std::string Event(const Json& json) {
  return fmt::format("event: {}\ndata: {}\n\n", json["type"].get_ref<const std::string&>(),
                     Dump(json));
}

ApiError ErrorOf(const node::GenerateError& error) {
  ApiError api = FromGenerateError(error, "messages");
  if (api.status == 503) api.status = 529;
  // The text by which clients know that they must compact their conversation.
  if (error.refusal == node::Refusal::kContextLength && error.context > 0) {
    api.message = fmt::format("prompt is too long: {} tokens > {} maximum", error.prompt_tokens,
                              error.context);
  }
  return api;
}

// The prompt is what was computed and what was cached.
Json UsageJson(const node::GenerateStats& stats) {
  return {{"input_tokens", stats.prompt_tokens - stats.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", stats.cached_tokens},
          {"output_tokens", stats.completion_tokens}};
}

class MessageEncoder : public Encoder {
 public:
  explicit MessageEncoder(EncoderOptions options) : options_(std::move(options)) {}

  HttpResponse Fail(const node::GenerateError& error) override {
    return ErrorResponse(ErrorOf(error));
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Event(ErrorJson(ErrorOf(error)));
  }

 protected:
  Json Message(Json usage) const {
    return {{"id", NewId("msg_")},      {"type", "message"},        {"role", "assistant"},
            {"model", options_.model},  {"content", Json::array()}, {"stop_reason", nullptr},
            {"stop_sequence", nullptr}, {"usage", std::move(usage)}};
  }
  void SetEnd(Json& json, wire::FinishReason reason, const node::GenerateStats& stats) const {
    const bool stopped = !stats.stops.empty() && !stats.stops[0].empty();
    json["stop_sequence"] = stopped ? Json(stats.stops[0]) : Json();
    json["stop_reason"] = reason == wire::FinishReason::kLength ? "max_tokens"
                          : stopped                             ? "stop_sequence"
                          : called_                             ? "tool_use"
                                                                : "end_turn";
  }

  const EncoderOptions options_;
  bool called_ = false;  // a tool
};

// The content is a row of blocks, one open at a time. An answer of nothing has none: a text block
// must not be empty where a client sends it back.
class StreamEncoder final : public MessageEncoder {
 public:
  using MessageEncoder::MessageEncoder;

  std::optional<StreamFormat> format() const override { return kEvents; }
  std::string Start(const node::StartReport& report) override {
    return Event({{"type", "message_start"},
                  {"message", Message({{"input_tokens", report.prompt_tokens},
                                       {"cache_creation_input_tokens", 0},
                                       {"cache_read_input_tokens", 0},
                                       {"output_tokens", 0}})}});
  }
  std::string Add(const node::Delta& delta) override {
    return std::visit([this](const auto& what) { return Encode(what); }, delta.what);
  }
  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    std::string bytes = Close();
    Json delta = Json::object();
    SetEnd(delta, reason, stats);
    bytes += Event({{"type", "message_delta"}, {"delta", delta}, {"usage", UsageJson(stats)}});
    return bytes + Event({{"type", "message_stop"}});
  }

 private:
  enum class Kind : uint8_t { kNone, kText, kThinking, kTool };

  std::string Open(Kind kind, Json block) {
    std::string bytes = Close();
    open_ = kind;
    return bytes + Event({{"type", "content_block_start"},
                          {"index", ++index_},
                          {"content_block", std::move(block)}});
  }
  std::string Close() {
    std::string bytes;
    if (open_ == Kind::kThinking)
      bytes = DeltaEvent({{"type", "signature_delta"}, {"signature", "exo"}});
    if (open_ != Kind::kNone) bytes += Event({{"type", "content_block_stop"}, {"index", index_}});
    open_ = Kind::kNone;
    return bytes;
  }
  std::string DeltaEvent(Json delta) const {
    return Event({{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(delta)}});
  }
  std::string Encode(const node::TextDelta& what) {
    if (what.text.empty()) return "";
    std::string bytes;
    if (open_ != Kind::kText) bytes = Open(Kind::kText, {{"type", "text"}, {"text", ""}});
    return bytes + DeltaEvent({{"type", "text_delta"}, {"text", what.text}});
  }
  std::string Encode(const node::ReasoningDelta& what) {
    if (what.text.empty()) return "";
    std::string bytes;
    if (open_ != Kind::kThinking) {
      bytes = Open(Kind::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
    }
    return bytes + DeltaEvent({{"type", "thinking_delta"}, {"thinking", what.text}});
  }
  std::string Encode(const node::ToolCallDelta& what) {
    std::string bytes;
    if (!what.id.empty()) {
      called_ = true;
      bytes = Open(
          Kind::kTool,
          {{"type", "tool_use"}, {"id", what.id}, {"name", what.name}, {"input", Json::object()}});
    }
    if (what.arguments.empty()) return bytes;
    return bytes + DeltaEvent({{"type", "input_json_delta"}, {"partial_json", what.arguments}});
  }

  Kind open_ = Kind::kNone;
  int index_ = -1;
};

class WholeEncoder final : public MessageEncoder {
 public:
  using MessageEncoder::MessageEncoder;

  std::optional<StreamFormat> format() const override { return std::nullopt; }
  std::string Start(const node::StartReport&) override { return ""; }
  std::string Add(const node::Delta& delta) override {
    std::visit([this](const auto& what) { Collect(what); }, delta.what);
    return "";
  }
  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    for (Json& block : content_) {
      if (block["type"] != "tool_use") continue;
      // Arguments that were cut by the token limit are none that anybody should act on.
      const auto input = ParseJson(block["input"].get_ref<const std::string&>());
      block["input"] = input && input->is_object() ? *input : Json::object();
    }
    Json message = Message(UsageJson(stats));
    message["content"] = std::move(content_);
    SetEnd(message, reason, stats);
    return Dump(message);
  }

 private:
  // Adds to the last block if it is of this type.
  void Append(const char* type, const char* field, std::string_view text) {
    if (text.empty()) return;
    if (content_.empty() || content_.back()["type"] != type)
      content_.push_back({{"type", type}, {field, ""}});
    content_.back()[field].get_ref<std::string&>() += text;
  }
  void Collect(const node::TextDelta& what) { Append("text", "text", what.text); }
  void Collect(const node::ReasoningDelta& what) {
    Append("thinking", "thinking", what.text);
    if (!content_.empty() && content_.back()["type"] == "thinking")
      content_.back()["signature"] = "exo";
  }
  void Collect(const node::ToolCallDelta& what) {
    if (!what.id.empty()) {
      called_ = true;
      content_.push_back(
          {{"type", "tool_use"}, {"id", what.id}, {"name", what.name}, {"input", ""}});
    }
    Append("tool_use", "input", what.arguments);
  }

  Json content_ = Json::array();
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options) {
  if (options.stream) return std::make_unique<StreamEncoder>(std::move(options));
  return std::make_unique<WholeEncoder>(std::move(options));
}

}  // namespace exo::service::anthropic
