// What is sent back: OpenAI's objects, with llama-server's `timings` and our own `exo` object
// beside them.
#pragma once

#include <span>
#include <string>

#include "node/api.h"
#include "service/json.h"

namespace exo::service {

// What every object of one answer repeats.
struct AnswerHead {
  std::string id;       // "chatcmpl-..." or "cmpl-..."
  std::string model;    // as the client wrote it
  int64_t created = 0;  // seconds since 1970
  bool chat = false;
};

struct AnswerEnd {
  wire::FinishReason reason = wire::FinishReason::kStop;
  node::GenerateStats stats;
  std::span<const TokenId> token_ids;
};

// The whole answer at once.
Json WholeAnswer(const AnswerHead& head, const std::string& text, const AnswerEnd& end);

// The pieces of a stream: the first (the role, chat only), text, the finish with timings, and the
// usage.
Json FirstChunk(const AnswerHead& head);
Json TextChunk(const AnswerHead& head, std::string_view text);
Json FinishChunk(const AnswerHead& head, const AnswerEnd& end);
Json UsageChunk(const AnswerHead& head, const node::GenerateStats& stats);

// One server-sent event.
std::string Event(const Json& json);
inline constexpr std::string_view kDoneEvent = "data: [DONE]\n\n";

}  // namespace exo::service
