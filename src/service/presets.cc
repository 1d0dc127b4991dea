#include "service/presets.h"

#include <algorithm>
#include <array>

#include "service/fields.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service {
namespace {

constexpr std::array kParameters = {"temperature",
                                    "top_k",
                                    "top_p",
                                    "min_p",
                                    "typical_p",
                                    "top_n_sigma",
                                    "xtc_probability",
                                    "xtc_threshold",
                                    "repeat_penalty",
                                    "repeat_last_n",
                                    "frequency_penalty",
                                    "presence_penalty",
                                    "dry_multiplier",
                                    "dry_base",
                                    "dry_allowed_length",
                                    "dry_penalty_last_n",
                                    "dry_sequence_breakers",
                                    "mirostat",
                                    "mirostat_tau",
                                    "mirostat_eta",
                                    "samplers",
                                    "logit_bias",
                                    "seed",
                                    "stop",
                                    "num_predict"};

// About how Ollama loads a model, or of samplers that it had once.
constexpr std::array kWithoutEffect = {"num_ctx",  "num_batch",  "num_keep",         "num_gpu",
                                       "main_gpu", "num_thread", "use_mmap",         "use_mlock",
                                       "low_vram", "f16_kv",     "penalize_newline", "tfs_z",
                                       "numa",     "num_gqa",    "logits_all",       "vocab_only"};

struct Alias {
  const char* name;
  const char* parameter;
};
constexpr std::array kAliases = {
    Alias{"max_tokens", "num_predict"},        Alias{"max_completion_tokens", "num_predict"},
    Alias{"max_output_tokens", "num_predict"}, Alias{"n_predict", "num_predict"},
    Alias{"stop_sequences", "stop"},           Alias{"repetition_penalty", "repeat_penalty"}};

// They change nothing, but one of a wrong kind is a mistake of who wrote it.
Parsed<> CheckWithoutEffect(const Json& parameters) {
  for (const char* name : kWithoutEffect) {
    const Json* value = Find(parameters, name);
    if (value == nullptr || value->is_number() || value->is_boolean()) continue;
    return BadValue(
        name, fmt::format("'{}' is {}, but must be a number, true or false", name, Shown(*value)));
  }
  return {};
}

Parsed<> ReadPredict(const Json& parameters, node::GenerateRequest& request) {
  const auto limit = TRY(ReadInteger(parameters, "num_predict", -2, INT32_MAX));
  if (!limit) return {};
  if (*limit == 0)
    return BadValue("num_predict", "'num_predict' is 0, but must be from 1, or -1 for no limit");
  request.max_tokens.reset();
  if (*limit > 0) request.max_tokens = static_cast<uint32_t>(*limit);
  return {};
}

void AddMessages(const node::Preset& preset, std::vector<model::ChatMessage>& messages) {
  if (messages.empty()) return;
  const bool has_system = messages.front().role == "system";
  std::vector<model::ChatMessage> before;
  if (!has_system && !preset.system.empty())
    before.push_back({.role = "system", .content = preset.system});
  for (const node::PresetMessage& one : preset.messages)
    before.push_back({.role = one.role, .content = one.content});
  messages.insert(messages.begin() + (has_system ? 1 : 0), before.begin(), before.end());
}

}  // namespace

void NoteGiven(const Json& body, node::GenerateRequest& request) {
  for (const char* name : kParameters) {
    if (Find(body, name) != nullptr) request.given.emplace_back(name);
  }
  for (const Alias& alias : kAliases) {
    if (Find(body, alias.name) != nullptr) request.given.emplace_back(alias.parameter);
  }
}

bool IsParameter(std::string_view name) {
  return std::ranges::find(kParameters, name) != kParameters.end() ||
         std::ranges::find(kWithoutEffect, name) != kWithoutEffect.end();
}

Parsed<> ReadParameters(const Json& parameters, node::GenerateRequest& request) {
  TRY(CheckWithoutEffect(parameters));
  TRY(ReadSettings(parameters, request));
  TRY(ReadSeed(parameters, request));
  TRY(ReadStops(parameters, "stop", request.stop));
  return ReadPredict(parameters, request);
}

void ApplyPreset(const node::Api& api, node::GenerateRequest& request) {
  const auto preset = api.FindPreset(request.model);
  if (preset == nullptr) return;
  if (!preset->parameters.empty()) {
    Json parameters = ParseJson(preset->parameters).value_or(Json::object());
    for (const std::string& name : request.given) parameters.erase(name);
    // They were read when they were set; what a newer exo has written may not be known here.
    (void)ReadParameters(parameters, request);
  }
  AddMessages(*preset, request.messages);
  if (request.chat.chat_template.empty()) request.chat.chat_template = preset->chat_template;
  if (!preset->adapters.empty()) request.load_adapters = preset->adapters;
}

}  // namespace exo::service
