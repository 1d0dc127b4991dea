// The tool `chat`: its arguments, and its answer as messages of MCP.
//
// Thread: the arguments are read on any, the encoder is used on the event loop.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "grammar/cache.h"
#include "service/encoder.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service::mcp {

// What is to be asked; its `model` is empty where the caller names none. `arguments` are those that
// lie at params.arguments of `body`, the text of the message. Errors: 400 that names the argument.
Parsed<node::GenerateRequest> ReadChat(const Json& arguments, std::string_view body,
                                       grammar::Cache& grammars);

struct ChatEncoding {
  Json id;                        // of the request
  Json progress_token = nullptr;  // null: the client wants no notifications
  std::string model = {};
  uint32_t max_tokens = 0;  // that were asked for; 0: no limit. The context may leave fewer
  bool stream = false;
};
// Progress carries the number of tokens so far, and as its message the text that has come since the
// last one. Whatever goes wrong is a result with `isError`.
std::unique_ptr<Encoder> MakeChatEncoder(ChatEncoding options);

}  // namespace exo::service::mcp
