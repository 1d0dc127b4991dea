#include "service/llama_server/parse.h"

#include "service/chat_messages.h"
#include "service/chat_tools.h"
#include "service/fields.h"
#include "service/grammar_fields.h"
#include "service/http/limits.h"
#include "service/prompts.h"
#include "service/request_fields.h"
#include "service/sampler_fields.h"

namespace exo::service::llama_server {
namespace {

// llama-server's defaults.
const Json kDefaults = {{"temperature", 0.8}, {"top_k", 40}, {"top_p", 0.95}, {"min_p", 0.05}};

// Fields that would change the answer and that we do not do.
Parsed<> RefuseUnsupported(const Json& body) {
  for (const char* name : {"input_extra", "image_data", "multimodal_data", "response_fields"}) {
    const Json* value = Find(body, name);
    const bool empty =
        value == nullptr || *value == "" || (value->is_structured() && value->empty());
    if (!empty) return NotSupported(name);
  }
  for (const char* name :
       {"ignore_eos", "return_progress", "post_sampling_probs", "timings_per_token"})
    if (TRY(ReadBool(body, name)).value_or(false)) return NotSupported(name);
  // Up to 0 they are off.
  for (const char* name : {"dynatemp_range", "t_max_predict_ms", "t_max_prompt_ms", "n_indent",
                           "min_keep", "adaptive_target"}) {
    const Json* value = Find(body, name);
    if (value != nullptr && !(value->is_number() && value->get<double>() <= 0))
      return NotSupported(name);
  }
  return {};
}

// "n_predict": 0 has the prompt computed, for a later request that begins with it. A step without a
// token is none to the engine: one is generated and not told.
Parsed<> ReadLimit(const Json& body, Call& call) {
  for (const char* name : {"n_predict", "max_tokens"}) {
    const Json* value = Find(body, name);
    call.warms = value != nullptr && *value == 0;
    if (call.warms) {
      call.request.max_tokens = 1;
    } else if (const auto limit = TRY(ReadTokenLimit(body, name))) {
      call.request.max_tokens = limit->tokens;
    }
    if (value != nullptr) return {};
  }
  return {};
}

Parsed<Call> ReadCommon(const Json& body, std::string_view text, grammar::Cache& grammars) {
  Call call;
  call.request.model = TRY(ReadOptionalModelName(body));
  TRY(RefuseUnsupported(body));
  call.stream = TRY(ReadBool(body, "stream")).value_or(false);
  const auto probabilities = TRY(ReadInteger(body, "n_probs", 0, 20)).value_or(0);
  Json sampler = body;
  sampler["logprobs"] = probabilities > 0;
  sampler["top_logprobs"] = probabilities;
  sampler.erase("n");
  TRY(ReadSampler(sampler, {.defaults = &kDefaults}, call.request));
  // -1: one is drawn.
  if (const Json* seed = Find(body, "seed"); seed == nullptr || *seed != -1)
    TRY(ReadSeed(body, call.request));
  TRY(ReadStops(body, "stop", call.request.stop));
  TRY(ReadLimit(body, call));
  TRY(ReadGrammar(body, text, grammars, call.request));
  return call;
}

}  // namespace

Parsed<Call> ParseCompletion(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  Call call = TRY(ReadCommon(body, text, grammars));
  call.request =
      std::move(TRY(ReadPrompts(body, "prompt", call.request, {.may_be_empty = true})).front());
  call.request.special = true;  // llama-server reads control tokens in it
  return call;
}

Parsed<Call> ParseInfill(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  if (Find(body, "input_prefix") == nullptr && Find(body, "input_suffix") == nullptr) {
    return std::unexpected(ApiError{400, "'input_prefix' and 'input_suffix' are missing",
                                    "input_prefix", "missing_required_parameter"});
  }
  Call call = TRY(ReadCommon(body, text, grammars));
  if (!TRY(ReadText(body, "prompt")).empty()) return NotSupported("prompt");
  call.request.prompt = TRY(ReadText(body, "input_prefix"));
  call.request.suffix = TRY(ReadText(body, "input_suffix"));
  return call;
}

Parsed<TokenizeCall> ParseTokenize(std::string_view text) {
  const Json body = TRY(ParseBody(text));
  TokenizeCall call;
  call.request.model = TRY(ReadOptionalModelName(body));
  call.request.prompt = TRY(ReadText(body, "content"));
  call.request.special = TRY(ReadBool(body, "parse_special")).value_or(true);
  call.request.no_bos = !TRY(ReadBool(body, "add_special")).value_or(false);
  call.with_pieces = TRY(ReadBool(body, "with_pieces")).value_or(false);
  return call;
}

Parsed<node::GenerateRequest> ParseTemplate(std::string_view text, grammar::Cache& grammars) {
  const Json body = TRY(ParseBody(text));
  node::GenerateRequest request;
  request.model = TRY(ReadOptionalModelName(body));
  request.messages = TRY(ReadMessages(body, text));
  TRY(ReadTools(body, text, grammars, request.chat));
  TRY(ReadToolChoice(body, request.chat));
  return request;
}

Parsed<DetokenizeCall> ParseDetokenize(std::string_view text) {
  const Json body = TRY(ParseBody(text));
  DetokenizeCall call{.model = TRY(ReadOptionalModelName(body))};
  const Json* tokens = Find(body, "tokens");
  if (tokens == nullptr || !tokens->is_array())
    return BadValue("tokens", "'tokens' must be a list of token ids");
  for (const Json& id : *tokens) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return BadValue("tokens",
                      fmt::format("an entry of 'tokens' is {}, but must be a token id", Shown(id)));
    }
    call.tokens.push_back(id.get<TokenId>());
  }
  return call;
}

Parsed<EmbeddingCall> ParseEmbedding(std::string_view text) {
  const Json body = TRY(ParseBody(text));
  EmbeddingCall call;
  if (Find(body, "content") == nullptr && Find(body, "input") != nullptr) call.field = "input";
  // -1: as the model gave it; 2: of Euclidean length 1. There are others, of no use to anybody.
  const auto norm = TRY(ReadInteger(body, "embd_normalize", -1, 2)).value_or(2);
  if (norm != -1 && norm != 2)
    return NotSupported("embd_normalize", "'embd_normalize' may be -1 (none) or 2 (length 1)");
  const node::GenerateRequest like{.model = TRY(ReadOptionalModelName(body)),
                                   .readout = node::ReadoutRequest{.unit = norm == 2}};
  call.requests = TRY(ReadPrompts(body, call.field, like, {.most = kMaxTexts}));
  return call;
}

}  // namespace exo::service::llama_server
