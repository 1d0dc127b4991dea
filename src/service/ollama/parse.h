// The bodies of /api/chat and /api/generate, checked and turned into a GenerateRequest. A known
// field is done or refused with 400; unknown fields are ignored.
#pragma once

#include <string>
#include <string_view>

#include "grammar/cache.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service::ollama {

// Ollama's order: done with a model, loading it alone, or unloading it.
enum class Wish : uint8_t { kAnswer, kLoad, kUnload };

struct Call {
  node::GenerateRequest request;
  Wish wish = Wish::kAnswer;
  bool chat = false;
  bool stream = true;
};
Parsed<Call> ParseChat(std::string_view body, grammar::Cache& grammars);
Parsed<Call> ParseGenerate(std::string_view body, grammar::Cache& grammars);

// "options"; an empty object where there are none. Errors: 400.
Parsed<Json> ReadOptionsObject(const Json& body);

// A model's name, of "model", or "name" as older clients say.
Parsed<std::string> ReadName(const Json& body);

}  // namespace exo::service::ollama
