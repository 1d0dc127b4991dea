// The body of /v1/messages, checked and turned into a GenerateRequest. A known field is done or
// refused with 400; unknown fields are ignored.
#pragma once

#include <string>
#include <string_view>

#include "grammar/cache.h"
#include "service/errors.h"

namespace exo::service::anthropic {

enum class Purpose : uint8_t { kAnswer, kCount };  // counting needs no max_tokens

struct MessageCall {
  node::GenerateRequest request;
  std::string user;
  bool stream = false;
};
Parsed<MessageCall> ParseMessages(std::string_view body, Purpose purpose, grammar::Cache& grammars);

}  // namespace exo::service::anthropic
