// Any bytes as the body of any route that reads one, and as a compressed body: it becomes a request
// (a text) or an error with a message, within its limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "service/anthropic/parse.h"
#include "service/conversations/rows.h"
#include "service/http/content_coding.h"
#include "service/json.h"
#include "service/llama_server/parse.h"
#include "service/ollama/modelfile.h"
#include "service/ollama/parse.h"
#include "service/openai/parse_request.h"
#include "service/openai/parse_responses.h"

namespace {

using namespace exo::service;

void Check(const auto& parsed) {
  if (!parsed && (parsed.error().message.empty() || parsed.error().status < 400)) std::abort();
}

constexpr size_t kDecodedBytes = 64 << 10;

void CheckDecoded(Coding coding, std::string_view body) {
  BodyLease lease(std::make_shared<BodyBudget>(body.size() + kDecodedBytes));
  const auto decoded = Decode(coding, body, kDecodedBytes, lease);
  Check(decoded);
  if (decoded && decoded->size() > kDecodedBytes) std::abort();
}

exo::grammar::Cache& Grammars() {
  static exo::grammar::Cache grammars;
  return grammars;
}

// A message that is taken is shown as JSON, whatever stands in it; so is an import.
void CheckConversations(std::string_view body) {
  const auto json = ParseJson(body);
  if (!json || !json->is_object()) return;
  Check(conversations::ReadConversationFields(*json));
  const auto rows = conversations::ReadImport(*json, 0, 1);
  Check(rows);
  const auto message = conversations::ReadMessageFields(*json);
  Check(message);
  if (!message) return;
  const auto content = conversations::ToContent(*message, nullptr, 1);
  const auto shown = ParseJson(conversations::MessageText({.content = content}));
  if (!shown || (*shown)["content"] != message->content) std::abort();
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
    [](std::string_view body) { Check(llama_server::ParseCompletion(body, Grammars())); },
    [](std::string_view body) { Check(llama_server::ParseInfill(body, Grammars())); },
    [](std::string_view body) { Check(llama_server::ParseTokenize(body)); },
    [](std::string_view body) { Check(llama_server::ParseTemplate(body, Grammars())); },
    [](std::string_view body) { Check(llama_server::ParseDetokenize(body)); },
    [](std::string_view body) { Check(llama_server::ParseEmbedding(body)); },
    [](std::string_view body) { CheckDecoded(Coding::kGzip, body); },
    [](std::string_view body) { CheckDecoded(Coding::kDeflate, body); },
    [](std::string_view body) { CheckDecoded(Coding::kZstd, body); },
    [](std::string_view body) { Check(ollama::ParseModelfile(body)); },
    &CheckConversations,
};

}  // namespace

// The first byte chooses the route.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  kBodies[data[0] % std::size(kBodies)](body);
  return 0;
}
