#include "service/sampler_fields.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "service/adapter_fields.h"
#include "service/fields.h"
#include "service/presets.h"
#include "wire/limits.h"

namespace exo::service {
namespace {

using wire::SamplerStep;

constexpr size_t kMaxDryBreakerBytes = 40;  // llama.cpp cuts there

struct NamedStep {
  std::string_view name;
  SamplerStep step;
  char letter;  // llama-server's
};
constexpr std::array kSteps = {NamedStep{"penalties", SamplerStep::kPenalties, 'e'},
                               NamedStep{"dry", SamplerStep::kDry, 'd'},
                               NamedStep{"top_n_sigma", SamplerStep::kTopNSigma, 's'},
                               NamedStep{"top_k", SamplerStep::kTopK, 'k'},
                               NamedStep{"typ_p", SamplerStep::kTypicalP, 'y'},
                               NamedStep{"top_p", SamplerStep::kTopP, 'p'},
                               NamedStep{"min_p", SamplerStep::kMinP, 'm'},
                               NamedStep{"xtc", SamplerStep::kXtc, 'x'},
                               NamedStep{"temperature", SamplerStep::kTemperature, 't'},
                               NamedStep{"typical_p", SamplerStep::kTypicalP, 'y'}};

Parsed<> Number(const Json& body, const char* name, Range range, float& out) {
  if (const auto value = TRY(ReadNumber(body, name, range))) out = static_cast<float>(*value);
  return {};
}

// A number of tokens; -1: all of them.
Parsed<> Window(const Json& body, const char* name, int64_t most, uint32_t& out) {
  if (const auto last = TRY(ReadInteger(body, name, -1, most)))
    out = *last < 0 ? UINT32_MAX : static_cast<uint32_t>(*last);
  return {};
}

Parsed<> ReadPenalties(const Json& body, wire::SamplerSettings& sampler) {
  TRY(Number(body, "frequency_penalty", {-2, 2}, sampler.frequency_penalty));
  TRY(Number(body, "presence_penalty", {-2, 2}, sampler.presence_penalty));
  TRY(Number(body, "repetition_penalty", {0.01, 10}, sampler.repeat_penalty));  // vLLM's name
  TRY(Number(body, "repeat_penalty", {0.01, 10}, sampler.repeat_penalty));
  return Window(body, "repeat_last_n", 65536, sampler.penalty_window);
}

Parsed<> ReadCuts(const Json& body, wire::SamplerSettings& sampler) {
  TRY(Number(body, "top_p", {0, 1}, sampler.top_p));
  TRY(Number(body, "min_p", {0, 1}, sampler.min_p));
  TRY(Number(body, "typical_p", {0, 1}, sampler.typical_p));
  TRY(Number(body, "top_n_sigma", {-1, 100}, sampler.top_n_sigma));
  sampler.top_n_sigma = std::max(sampler.top_n_sigma, 0.0f);  // -1 is llama-server's "off"
  TRY(Number(body, "xtc_probability", {0, 1}, sampler.xtc_probability));
  TRY(Number(body, "xtc_threshold", {0, 1}, sampler.xtc_threshold));
  if (const auto k = TRY(ReadInteger(body, "top_k", -1, INT32_MAX))) {
    sampler.top_k = *k < 0 ? 0 : static_cast<uint32_t>(*k);  // -1 is vLLM's "off"
  }
  return {};
}

Parsed<> ReadBreakers(const Json& body, std::vector<std::string>& out) {
  constexpr const char* kName = "dry_sequence_breakers";
  const Json* value = Find(body, kName);
  if (value == nullptr) return {};
  if (!value->is_array())
    return BadValue(kName, fmt::format("'{}' must be a list of texts", kName));
  if (value->size() > kMaxDryBreakers) {
    return BadValue(kName, fmt::format("'{}' has {} entries, but at most {} are allowed", kName,
                                       value->size(), kMaxDryBreakers));
  }
  out.clear();
  for (const Json& breaker : *value) {
    const auto* text = breaker.get_ptr<const std::string*>();
    if (text == nullptr || text->empty() || text->size() > kMaxDryBreakerBytes) {
      return BadValue(
          kName, fmt::format("an entry of '{}' is {}, but must be a text of 1 to {} bytes", kName,
                             Shown(breaker), kMaxDryBreakerBytes));
    }
    out.push_back(*text);
  }
  return {};
}

Parsed<> ReadDry(const Json& body, node::GenerateRequest& request) {
  wire::SamplerSettings& sampler = request.sampler;
  TRY(Number(body, "dry_multiplier", {0, 100}, sampler.dry_multiplier));
  TRY(Number(body, "dry_base", {1, 100}, sampler.dry_base));
  if (const auto length = TRY(ReadInteger(body, "dry_allowed_length", 0, 65536)))
    sampler.dry_allowed_length = static_cast<uint32_t>(*length);
  TRY(Window(body, "dry_penalty_last_n", INT32_MAX, sampler.dry_window));
  return ReadBreakers(body, request.dry_breakers);
}

Parsed<> ReadMirostat(const Json& body, wire::SamplerSettings& sampler) {
  const auto version = TRY(ReadInteger(body, "mirostat", 0, 2));
  if (version == 1) {
    return BadValue("mirostat",
                    "'mirostat' is 1, but must be 0 (off) or 2: only its second version is here");
  }
  if (version) sampler.mirostat = *version == 2;
  TRY(Number(body, "mirostat_tau", {0, 100}, sampler.mirostat_tau));
  return Number(body, "mirostat_eta", {0, 10}, sampler.mirostat_eta);
}

std::unexpected<ApiError> NoSuchStep(const Json& name) {
  std::string names;
  for (const NamedStep& one : kSteps)
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", one.name, one.letter);
  return BadValue("samplers", fmt::format("an entry of 'samplers' is {}, but must be one of {}",
                                          Shown(name), names));
}

// Names, or llama-server's shorter form: a text with a letter for each.
Parsed<> ReadOrder(const Json& body, std::vector<SamplerStep>& order) {
  const Json* value = Find(body, "samplers");
  if (value == nullptr) return {};
  const auto* letters = value->get_ptr<const std::string*>();
  if (letters == nullptr && !value->is_array())
    return BadValue("samplers", "'samplers' must be a list of names, or a text of their letters");
  const size_t size = letters != nullptr ? letters->size() : value->size();
  if (size > wire::kMaxSamplerSteps) {
    return BadValue("samplers", fmt::format("'samplers' has {} entries, but at most {} are allowed",
                                            size, wire::kMaxSamplerSteps));
  }
  for (size_t i = 0; i < size; ++i) {
    const auto known = std::ranges::find_if(kSteps, [&](const NamedStep& one) {
      return letters != nullptr ? (*letters)[i] == one.letter : (*value)[i] == one.name;
    });
    if (known == kSteps.end())
      return NoSuchStep(letters != nullptr ? Json(letters->substr(i, 1)) : (*value)[i]);
    order.push_back(known->step);
  }
  return {};
}

Parsed<TokenId> ReadTokenId(const Json& value, const char* field) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= INT32_MAX)
    return static_cast<TokenId>(value.get<uint64_t>());
  return BadValue(
      field, fmt::format("'{}' names the token {}, but ids are whole numbers from 0 to {}", field,
                         Shown(value), INT32_MAX));
}

// A number from -100 to 100, or false: the token never comes.
Parsed<float> ReadBias(const Json& value) {
  if (value.is_boolean() && !value.get<bool>()) return -std::numeric_limits<float>::infinity();
  if (value.is_number() && std::fabs(value.get<double>()) <= 100) return value.get<float>();
  return BadValue(
      "logit_bias",
      fmt::format("a bias of 'logit_bias' is {}, but must be from -100 to 100, or false",
                  Shown(value)));
}

// OpenAI's {"id": bias}, or llama-server's [[id, bias], ...].
Parsed<> ReadLogitBias(const Json& body, std::vector<wire::LogitBias>& out) {
  constexpr const char* kName = "logit_bias";
  const Json* value = Find(body, kName);
  if (value == nullptr) return {};
  if (!value->is_structured() || value->size() > wire::kMaxLogitBias) {
    return BadValue(kName, fmt::format("'{}' must be an object of token ids and biases, at most {}",
                                       kName, wire::kMaxLogitBias));
  }
  for (const auto& [key, entry] : value->items()) {
    const bool pair = value->is_array() && entry.is_array() && entry.size() == 2;
    if (value->is_array() && !pair)
      return BadValue(kName, fmt::format("an entry of '{}' is {}, but must be [id, bias]", kName,
                                         Shown(entry)));
    const Json id = pair ? entry[0] : ParseJson(key).value_or(Json(key));
    const TokenId token = TRY(ReadTokenId(id, kName));
    out.push_back({token, TRY(ReadBias(pair ? entry[1] : entry))});
  }
  return {};
}

Parsed<> ReadStopTokenIds(const Json& body, std::vector<TokenId>& out) {
  constexpr const char* kName = "stop_token_ids";
  const Json* value = Find(body, kName);
  if (value == nullptr) return {};
  if (!value->is_array() || value->size() > kMaxStopTokenIds) {
    return BadValue(
        kName, fmt::format("'{}' must be a list of at most {} token ids", kName, kMaxStopTokenIds));
  }
  for (const Json& id : *value) out.push_back(TRY(ReadTokenId(id, kName)));
  return {};
}

Parsed<> ReadLogprobs(const Json& body, bool chat, wire::SamplerSettings& sampler) {
  if (!chat) {
    const auto count = TRY(ReadInteger(body, "logprobs", 0, wire::kMaxTopLogprobs));
    sampler.logprobs = count.has_value();
    sampler.top_logprobs = static_cast<uint32_t>(count.value_or(0));
    return {};
  }
  sampler.logprobs = TRY(ReadBool(body, "logprobs")).value_or(false);
  const auto top = TRY(ReadInteger(body, "top_logprobs", 0, wire::kMaxTopLogprobs));
  sampler.top_logprobs = static_cast<uint32_t>(top.value_or(0));
  if (sampler.top_logprobs == 0 || sampler.logprobs) return {};
  return BadValue("top_logprobs", fmt::format("'top_logprobs' is {}, but 'logprobs' is not true",
                                              sampler.top_logprobs));
}

}  // namespace

Parsed<> ReadSettings(const Json& body, node::GenerateRequest& request) {
  wire::SamplerSettings& sampler = request.sampler;
  TRY(Number(body, "temperature", {0, 2}, sampler.temperature));
  TRY(ReadCuts(body, sampler));
  TRY(ReadPenalties(body, sampler));
  TRY(ReadDry(body, request));
  TRY(ReadMirostat(body, sampler));
  TRY(ReadOrder(body, sampler.order));
  return ReadLogitBias(body, sampler.logit_bias);
}

Parsed<> ReadSampler(const Json& body, SamplerForm form, node::GenerateRequest& request) {
  request.sampler.temperature = 1;                // OpenAI's
  request.dry_breakers = {"\n", ":", "\"", "*"};  // llama-server's
  if (form.defaults != nullptr) TRY(ReadSettings(*form.defaults, request));
  TRY(ReadSettings(body, request));
  TRY(ReadStopTokenIds(body, request.stop_tokens));
  TRY(ReadAdapters(body, request));
  TRY(ReadLogprobs(body, form.chat, request.sampler));
  NoteGiven(body, request);
  request.choices = static_cast<uint32_t>(TRY(ReadInteger(body, "n", 1, kMaxChoices)).value_or(1));
  return {};
}

}  // namespace exo::service
