// Any bytes as the body of any route that reads one: it becomes a request or an error with a
// message, within its limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "service/anthropic/parse.h"
#include "service/llama_server/parse.h"
#include "service/ollama/parse.h"
#include "service/openai/parse_request.h"
#include "service/openai/parse_responses.h"

namespace {

using namespace exo::service;

void Check(const auto& parsed) {
  if (!parsed && (parsed.error().message.empty() || parsed.error().status < 400)) std::abort();
}

exo::grammar::Cache& Grammars() {
  static exo::grammar::Cache grammars;
  return grammars;
}

using Read = void (*)(std::string_view);
constexpr Read kBodies[] = {
    [](std::string_view body) { Check(openai::ParseChatRequest(body, Grammars())); },
    [](std::string_view body) { Check(openai::ParseCompletionRequest(body, Grammars())); },
    [](std::string_view body) { Check(openai::ParseResponseRequest(body, Grammars())); },
    [](std::string_view body) {
      Check(anthropic::ParseMessages(body, anthropic::Purpose::kAnswer, Grammars()));
    },
    [](std::string_view body) { Check(ollama::ParseChat(body, Grammars())); },
    [](std::string_view body) { Check(ollama::ParseGenerate(body, Grammars())); },
    [](std::string_view body) { Check(llama_server::ParseCompletion(body)); },
    [](std::string_view body) { Check(llama_server::ParseInfill(body)); },
    [](std::string_view body) { Check(llama_server::ParseTokenize(body)); },
    [](std::string_view body) { Check(llama_server::ParseTemplate(body)); },
    [](std::string_view body) { Check(llama_server::ParseDetokenize(body)); },
    [](std::string_view body) { Check(llama_server::ParseEmbedding(body)); },
};

}  // namespace

// The first byte chooses the route.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  kBodies[data[0] % std::size(kBodies)](body);
  return 0;
}
