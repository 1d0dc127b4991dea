// The bodies of llama-server's routes, checked. A known field is done or refused with 400; unknown
// fields are ignored. An empty model is to be chosen by the route.
#pragma once

#include <string>
#include <string_view>

#include "grammar/cache.h"
#include "service/errors.h"

namespace exo::service::llama_server {

struct Call {
  node::GenerateRequest request;
  bool stream = false;
  bool warms = false;  // only the prompt is asked for: what comes behind it is not told
};
Parsed<Call> ParseCompletion(std::string_view body, grammar::Cache& grammars);
Parsed<Call> ParseInfill(std::string_view body, grammar::Cache& grammars);

struct TokenizeCall {
  node::GenerateRequest request;
  bool with_pieces = false;
};
Parsed<TokenizeCall> ParseTokenize(std::string_view body);
Parsed<node::GenerateRequest> ParseTemplate(std::string_view body, grammar::Cache& grammars);

struct EmbeddingCall {
  std::vector<node::GenerateRequest> requests;
  const char* field = "content";  // that has the texts
};
Parsed<EmbeddingCall> ParseEmbedding(std::string_view body);

struct DetokenizeCall {
  std::string model;
  std::vector<TokenId> tokens;
};
Parsed<DetokenizeCall> ParseDetokenize(std::string_view body);

}  // namespace exo::service::llama_server
