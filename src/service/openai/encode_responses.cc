#include "service/openai/encode_responses.h"

#include <algorithm>
#include <iterator>

#include "service/errors.h"
#include "service/openai/errors.h"
#include "service/openai/reports.h"
#include "service/request_fields.h"

namespace exo::service::openai {
namespace {

enum class Kind : uint8_t { kReasoning, kMessage, kCall };

// A part of the output, as far as it has come.
struct Item {
  Kind kind;
  std::string id;
  std::string call_id, name;       // of a call: as the model names its function
  std::string text = {};           // or arguments
  NamespacedTool namespaced = {};  // what the client names it; empty: the same
  Json logprobs = Json::array();   // of the text's tokens
};

const std::string& ShownName(const Item& item) {
  return item.namespaced.name.empty() ? item.name : item.namespaced.name;
}

Json PartOf(const Item& item) {
  if (item.kind == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", item.text}};
  return {{"type", "output_text"},
          {"text", item.text},
          {"annotations", Json::array()},
          {"logprobs", item.logprobs}};
}

Json ItemJson(const Item& item, const char* status, bool begun) {
  Json json = {{"id", item.id}, {"status", status}};
  if (item.kind == Kind::kCall) {
    json.update({{"type", "function_call"},
                 {"call_id", item.call_id},
                 {"name", ShownName(item)},
                 {"arguments", item.text}});
    if (!item.namespaced.name.empty()) json["namespace"] = item.namespaced.name_space;
    return json;
  }
  json["content"] = begun ? Json::array() : Json::array({PartOf(item)});
  if (item.kind == Kind::kReasoning) {
    json["type"] = "reasoning";
    json["summary"] = Json::array();
  } else {
    json["type"] = "message";
    json["role"] = "assistant";
  }
  return json;
}

Json Usage(const node::GenerateStats& stats) {
  return {{"input_tokens", stats.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", stats.cached_tokens}}},
          {"output_tokens", stats.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", uint64_t{stats.prompt_tokens} + stats.completion_tokens}};
}

class ResponseEncoder final : public Encoder {
 public:
  explicit ResponseEncoder(ResponseOptions options) : options_(std::move(options)) {}

  std::optional<StreamFormat> format() const override {
    return options_.stream ? std::optional(kServerSentEvents) : std::nullopt;
  }
  std::string Start(const node::StartReport&) override {
    const Json response = Response("in_progress");
    return Event({{"type", "response.created"}, {"response", response}}) +
           Event({{"type", "response.in_progress"}, {"response", response}});
  }
  std::string Add(const node::Delta& delta) override {
    ids_.insert(ids_.end(), delta.ids.begin(), delta.ids.end());
    if (options_.logprobs) {
      Json told = ChatLogprobs(delta.logprobs);
      std::ranges::move(told, std::back_inserter(pending_));
    }
    return std::visit([this](const auto& what) { return Encode(what); }, delta.what);
  }
  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    std::string bytes;
    const bool cut = reason == wire::FinishReason::kLength;
    // One that was cut before anything showed (a call without a name yet) has no item.
    if (items_.empty() && !cut) bytes += Open({.kind = Kind::kMessage, .id = Name("msg")});
    bytes += Close(cut ? "incomplete" : "completed");
    Json response = Response(cut ? "incomplete" : "completed");
    for (size_t i = 0; i < items_.size(); ++i) {
      const bool last = i + 1 == items_.size();
      response["output"].push_back(
          ItemJson(items_[i], cut && last ? "incomplete" : "completed", false));
    }
    if (cut) response["incomplete_details"] = {{"reason", "max_output_tokens"}};
    response["usage"] = Usage(stats);
    AddReports(response, stats, ids_);
    if (options_.keep) options_.keep(Message(), response);
    if (!options_.stream) return Dump(response);
    return bytes + Event({{"type", cut ? "response.incomplete" : "response.completed"},
                          {"response", std::move(response)}});
  }
  HttpResponse Fail(const node::GenerateError& error) override {
    return ErrorResponse(FromGenerateError(error, "input"));
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    const ApiError api = FromGenerateError(error, "input");
    Json response = Response("failed");
    response["error"] = {{"code", api.code.empty() ? "server_error" : api.code},
                         {"message", api.message}};
    return Event({{"type", "response.failed"}, {"response", std::move(response)}});
  }

 private:
  std::string Name(const char* prefix) const {
    return fmt::format("{}_{}_{}", prefix, options_.id.substr(options_.id.find('_') + 1),
                       items_.size());
  }
  Json Response(const char* status) const {
    Json json = {
        {"id", options_.id}, {"object", "response"},          {"created_at", options_.created},
        {"status", status},  {"model", options_.model},       {"output", Json::array()},
        {"error", nullptr},  {"incomplete_details", nullptr}, {"instructions", nullptr},
        {"usage", nullptr}};
    json.update(options_.echo);
    return json;
  }
  // Every event has its name twice and the next number.
  std::string Event(Json json) {
    if (!options_.stream) return "";
    json["sequence_number"] = sequence_++;
    return fmt::format("event: {}\ndata: {}\n\n", json["type"].get_ref<const std::string&>(),
                       Dump(json));
  }
  std::string ItemEvent(const std::string& type, Json more = Json::object()) {
    more["type"] = "response." + type;
    more["item_id"] = items_.back().id;
    more["output_index"] = items_.size() - 1;
    if (items_.back().kind != Kind::kCall) more["content_index"] = 0;
    return Event(std::move(more));
  }

  std::string Open(Item item) {
    std::string bytes = Close("completed");
    items_.push_back(std::move(item));
    open_ = true;
    bytes += Event({{"type", "response.output_item.added"},
                    {"output_index", items_.size() - 1},
                    {"item", ItemJson(items_.back(), "in_progress", true)}});
    if (items_.back().kind != Kind::kCall)
      bytes += ItemEvent("content_part.added", {{"part", PartOf(items_.back())}});
    return bytes;
  }
  std::string Close(const char* status) {
    if (!std::exchange(open_, false)) return "";
    Item& item = items_.back();
    std::string bytes;
    if (item.kind == Kind::kMessage) TakeLogprobs(item);
    if (item.kind == Kind::kCall) {
      bytes = ItemEvent("function_call_arguments.done",
                        {{"name", ShownName(item)}, {"arguments", item.text}});
    } else {
      const char* name = item.kind == Kind::kMessage ? "output_text.done" : "reasoning_text.done";
      bytes = ItemEvent(name, {{"text", item.text}, {"logprobs", item.logprobs}}) +
              ItemEvent("content_part.done", {{"part", PartOf(item)}});
    }
    return bytes + Event({{"type", "response.output_item.done"},
                          {"output_index", items_.size() - 1},
                          {"item", ItemJson(item, status, false)}});
  }
  std::string AddText(Kind kind, const char* prefix, const char* event, std::string_view text) {
    if (text.empty()) return "";
    std::string bytes;
    if (!open_ || items_.back().kind != kind) bytes = Open({.kind = kind, .id = Name(prefix)});
    items_.back().text += text;
    Json logprobs = kind == Kind::kMessage ? TakeLogprobs(items_.back()) : Json::array();
    return bytes + ItemEvent(event, {{"delta", text}, {"logprobs", std::move(logprobs)}});
  }
  // Those of the tokens behind the item's text, since the last time.
  Json TakeLogprobs(Item& item) {
    Json fresh = std::exchange(pending_, Json::array());
    item.logprobs.insert(item.logprobs.end(), fresh.begin(), fresh.end());
    return fresh;
  }
  std::string Encode(const node::TextDelta& what) {
    return AddText(Kind::kMessage, "msg", "output_text.delta", what.text);
  }
  std::string Encode(const node::ReasoningDelta& what) {
    pending_.clear();
    return AddText(Kind::kReasoning, "rs", "reasoning_text.delta", what.text);
  }
  std::string Encode(const node::ToolCallDelta& what) {
    pending_.clear();
    std::string bytes;
    if (!what.id.empty()) {
      const auto found = options_.namespaced.find(what.name);
      bytes = Open(
          {.kind = Kind::kCall,
           .id = Name("fc"),
           .call_id = std::string(what.id),
           .name = std::string(what.name),
           .namespaced = found == options_.namespaced.end() ? NamespacedTool{} : found->second});
    }
    if (what.arguments.empty() || items_.empty()) return bytes;
    items_.back().text += what.arguments;
    return bytes + ItemEvent("function_call_arguments.delta", {{"delta", what.arguments}});
  }
  // The answer as a message of a later prompt.
  model::ChatMessage Message() const {
    model::ChatMessage message{.role = "assistant"};
    for (const Item& item : items_) {
      if (item.kind == Kind::kReasoning) {
        message.reasoning += item.text;
      } else if (item.kind == Kind::kMessage) {
        message.content = message.content.value_or("") + item.text;
      } else {
        const auto arguments = ParseJson(item.text);
        message.tool_calls.push_back(
            {.id = item.call_id,
             .name = item.name,
             .arguments = arguments ? ToMap(*arguments) : model::DataMap{}});
      }
    }
    return message;
  }

  const ResponseOptions options_;
  std::vector<Item> items_;
  bool open_ = false;  // the last one
  std::vector<TokenId> ids_;
  Json pending_ = Json::array();  // logprobs of tokens that have shown nothing yet
  uint64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<Encoder> MakeResponseEncoder(ResponseOptions options) {
  return std::make_unique<ResponseEncoder>(std::move(options));
}

}  // namespace exo::service::openai
