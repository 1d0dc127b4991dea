// What /v1/responses sends back: a response object, or the events of one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "service/chat_tools.h"
#include "service/encoder.h"
#include "service/json.h"

namespace exo::service::openai {

struct ResponseOptions {
  std::string id;     // "resp_..."
  std::string model;  // as the client wrote it
  int64_t created = 0;
  bool stream = false;
  bool logprobs = false;  // of the text's tokens are told
  Json echo;              // of the request
  NamespacedTools namespaced = {};
  // Hears what the assistant answered, when it is done, and the response object.
  std::function<void(model::ChatMessage, const Json&)> keep;
};
std::unique_ptr<Encoder> MakeResponseEncoder(ResponseOptions options);

}  // namespace exo::service::openai
