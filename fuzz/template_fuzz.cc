// Any bytes as a chat template with any conversation: it renders or fails within its budgets, and
// without a template that writes text of its own, nothing of a message becomes trusted.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/chat_template.h"

// The template up to the first zero byte; behind it the content of a message.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::model;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const auto parsed = ChatTemplate::Parse(input.substr(0, end));
  if (!parsed) return 0;
  const std::string content =
      end < input.size() ? std::string(input.substr(end + 1)) : "  Hello, world!\n";
  const std::vector<ChatMessage> messages = {{"system", "Be brief."}, {"user", content}};
  const ChatTemplateOptions options = {.bos_token = "<s>", .eos_token = "</s>", .now = 0};
  const auto pieces = (*parsed)->Render(messages, options);
  if (!pieces) return 0;
  uint64_t bytes = 0;
  for (const TextPiece& piece : *pieces) bytes += piece.text.size();
  if (bytes > kMaxTemplateOutput) std::abort();
  return 0;
}
