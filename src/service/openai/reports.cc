#include "service/openai/reports.h"

#include <algorithm>

#include "service/timings.h"
#include "wire/plan.h"

namespace exo::service::openai {
namespace {

Json ExoReport(const node::GenerateStats& stats, std::span<const TokenId> token_ids) {
  Json stages = Json::array();
  for (const node::StageReport& stage : stats.stages) {
    stages.push_back({{"node", stage.node},
                      {"node_id", stage.id.Hex()},
                      {"layer_begin", stage.layer_begin},
                      {"layer_end", stage.layer_end},
                      {"ms", stage.milliseconds}});
  }
  Json report = {{"stages", std::move(stages)},
                 {"wire", wire::NameOf(stats.codec)},
                 {"seed", stats.seed},
                 {"ttft_ms", stats.ttft_ms},
                 {"tokens_per_second", stats.tokens_per_second},
                 {"prompt_tokens_per_second", stats.prompt_per_second},
                 {"token_ids", Json(std::vector<TokenId>(token_ids.begin(), token_ids.end()))}};
  if (!stats.loose_tools.empty()) report["loose_tools"] = stats.loose_tools;
  return report;
}

// OpenAI's number for what is next to impossible; JSON has no infinity.
double Shown(double logprob) {
  return std::max(logprob, -9999.0);
}

Json TokenJson(const node::TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<uint8_t>(c));
  return {{"token", token.bytes}, {"logprob", Shown(token.logprob)}, {"bytes", std::move(bytes)}};
}

}  // namespace

Json UsageJson(const node::GenerateStats& stats) {
  return {{"prompt_tokens", stats.prompt_tokens},
          {"completion_tokens", stats.completion_tokens},
          {"total_tokens", uint64_t{stats.prompt_tokens} + stats.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", stats.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}}};
}

void AddReports(Json& json, const node::GenerateStats& stats, std::span<const TokenId> token_ids) {
  json["timings"] = TimingsJson(stats);
  json["exo"] = ExoReport(stats, token_ids);
}

Json ChatLogprobs(std::span<const node::SampledLogprob> tokens) {
  Json list = Json::array();
  for (const node::SampledLogprob& sampled : tokens) {
    Json entry = TokenJson(sampled.token);
    entry["top_logprobs"] = Json::array();
    for (const node::TokenLogprob& top : sampled.top)
      entry["top_logprobs"].push_back(TokenJson(top));
    list.push_back(std::move(entry));
  }
  return list;
}

namespace {

bool BeginsCharacter(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) != 0x80;
}

}  // namespace

size_t Characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, BeginsCharacter));
}

Json CompletionLogprobs(std::span<const node::SampledLogprob> tokens, size_t& characters,
                        size_t most) {
  Json json = {{"tokens", Json::array()},
               {"token_logprobs", Json::array()},
               {"top_logprobs", Json::array()},
               {"text_offset", Json::array()}};
  for (const node::SampledLogprob& sampled : tokens) {
    json["tokens"].push_back(sampled.token.bytes);
    json["token_logprobs"].push_back(Shown(sampled.token.logprob));
    Json top = Json::object();
    for (const node::TokenLogprob& other : sampled.top) top[other.bytes] = Shown(other.logprob);
    json["top_logprobs"].push_back(std::move(top));
    const std::string& bytes = sampled.token.bytes;
    const bool goes_on = characters > 0 && !bytes.empty() && !BeginsCharacter(bytes[0]);
    json["text_offset"].push_back(std::min(characters - (goes_on ? 1 : 0), most));
    characters += Characters(bytes);
  }
  return json;
}

}  // namespace exo::service::openai
