#include "service/render.h"

namespace exo::service {
namespace {

const char* FinishName(wire::FinishReason reason) {
  return reason == wire::FinishReason::kLength ? "length" : "stop";
}

Json Usage(const node::GenerateStats& stats) {
  return {{"prompt_tokens", stats.prompt_tokens},
          {"completion_tokens", stats.completion_tokens},
          {"total_tokens", uint64_t{stats.prompt_tokens} + stats.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", 0}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}}};
}

double Over(double a, double b) {
  return b > 0 ? a / b : 0;
}

// llama-server's field names; the first token belongs to the prompt's time.
Json Timings(const node::GenerateStats& stats) {
  const double prompt = stats.prompt_tokens;
  const double predicted = stats.completion_tokens;
  const double prompt_ms = 1000 * Over(prompt, stats.prompt_per_second);
  const double predicted_ms =
      1000 * Over(predicted > 1 ? predicted - 1 : 0, stats.tokens_per_second);
  return {{"cache_n", 0},
          {"prompt_n", stats.prompt_tokens},
          {"prompt_ms", prompt_ms},
          {"prompt_per_token_ms", Over(prompt_ms, prompt)},
          {"prompt_per_second", stats.prompt_per_second},
          {"predicted_n", stats.completion_tokens},
          {"predicted_ms", predicted_ms},
          {"predicted_per_token_ms", Over(1000, stats.tokens_per_second)},
          {"predicted_per_second", stats.tokens_per_second}};
}

Json ExoReport(const AnswerEnd& end) {
  Json stages = Json::array();
  for (const node::StageReport& stage : end.stats.stages) {
    stages.push_back({{"node", stage.node},
                      {"node_id", stage.id.Hex()},
                      {"layer_begin", stage.layer_begin},
                      {"layer_end", stage.layer_end},
                      {"ms", stage.milliseconds}});
  }
  return {{"stages", std::move(stages)},
          {"seed", end.stats.seed},
          {"ttft_ms", end.stats.ttft_ms},
          {"tokens_per_second", end.stats.tokens_per_second},
          {"prompt_tokens_per_second", end.stats.prompt_per_second},
          {"token_ids", Json(std::vector<TokenId>(end.token_ids.begin(), end.token_ids.end()))}};
}

Json Object(const AnswerHead& head, bool chunk, Json choices) {
  const char* chat = chunk ? "chat.completion.chunk" : "chat.completion";
  return {{"id", head.id},
          {"object", head.chat ? chat : "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"choices", std::move(choices)}};
}

Json ChunkOf(const AnswerHead& head, Json delta_or_text, Json finish) {
  Json choice = {{"index", 0}, {"logprobs", nullptr}, {"finish_reason", std::move(finish)}};
  choice[head.chat ? "delta" : "text"] = std::move(delta_or_text);
  return Object(head, true, Json::array({std::move(choice)}));
}

void AddReports(Json& json, const AnswerEnd& end) {
  json["timings"] = Timings(end.stats);
  json["exo"] = ExoReport(end);
}

}  // namespace

Json WholeAnswer(const AnswerHead& head, const std::string& text, const AnswerEnd& end) {
  Json choice = {{"index", 0}, {"logprobs", nullptr}, {"finish_reason", FinishName(end.reason)}};
  if (head.chat) {
    choice["message"] = {{"role", "assistant"},
                         {"content", text},
                         {"refusal", nullptr},
                         {"annotations", Json::array()}};
  } else {
    choice["text"] = text;
  }
  Json json = Object(head, false, Json::array({std::move(choice)}));
  json["usage"] = Usage(end.stats);
  AddReports(json, end);
  return json;
}

Json FirstChunk(const AnswerHead& head) {
  return ChunkOf(head, {{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}}, nullptr);
}

Json TextChunk(const AnswerHead& head, std::string_view text) {
  return ChunkOf(head, head.chat ? Json{{"content", text}} : Json(text), nullptr);
}

Json FinishChunk(const AnswerHead& head, const AnswerEnd& end) {
  Json json = ChunkOf(head, head.chat ? Json::object() : Json(""), FinishName(end.reason));
  AddReports(json, end);
  return json;
}

Json UsageChunk(const AnswerHead& head, const node::GenerateStats& stats) {
  Json json = Object(head, true, Json::array());
  json["usage"] = Usage(stats);
  return json;
}

std::string Event(const Json& json) {
  return "data: " + Dump(json) + "\n\n";
}

}  // namespace exo::service
