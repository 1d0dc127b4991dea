// The body of /v1/responses, checked and turned into a GenerateRequest.
#pragma once

#include <string>
#include <string_view>

#include "grammar/cache.h"
#include "service/chat_tools.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service::openai {

struct ResponseCall {
  node::GenerateRequest request;  // messages of this request alone, without instructions
  std::string instructions;       // they go before everything, and are not kept
  std::string previous;           // previous_response_id
  std::string user;
  bool store = true;
  bool stream = false;
  Json input;  // as it was sent: a text or items
  NamespacedTools namespaced;
  Json echo = Json::object();  // fields that the answer repeats
};
Parsed<ResponseCall> ParseResponseRequest(std::string_view body, grammar::Cache& grammars);

}  // namespace exo::service::openai
