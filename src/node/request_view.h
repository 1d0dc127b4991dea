// What a node tells of the requests of its clients: which there are, and where the time of each
// went. Never a text of a prompt or an answer. Plain values of node/api.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace exo::node {

// How many ended calls, and traces of calls, are kept.
inline constexpr size_t kKeptRequests = 200;
inline constexpr size_t kKeptTraces = 32;

// Who sends a request, as the service knows it.
struct Asker {
  uint64_t key = 0;       // tells keys apart; 0: nobody in particular
  std::string name = {};  // of the key
  std::string dialect = {};
  // The name of the client's call, which may be several requests to the node (texts of a batch);
  // zero: the node draws one.
  RequestId call = {};
};

enum class RequestState : uint8_t {
  kQueued,     // being prepared, or waits for its model or a place
  kPrompt,     // its prompt is being computed
  kAnswering,  // tokens come
  kDone,
  kFailed,
  kCanceled,
};
// "queued", …
const char* RequestStateName(RequestState state);

// One call of a client: an answer, or the answers to several texts.
struct RequestView {
  RequestId id;
  std::string model;  // as the client wrote it
  RequestState state = RequestState::kQueued;
  Asker asker;
  std::string entry;                 // the name of the node that was asked
  int64_t started_ms = 0;            // since 1970
  int64_t ended_ms = 0;              // 0: it has not
  uint64_t prompt_tokens = 0;        // 0: not known yet
  uint64_t cached_tokens = 0;        // of them: their KV was there already
  uint64_t generated = 0;            // tokens so far
  double tokens_per_second = 0;      // after the first one; 0: not known yet
  double ttft_ms = 0;                // from its start to the first token, likewise
  std::vector<std::string> devices;  // that compute it, in the order of their stages
  std::string error;                 // why it failed or was canceled
};

// A part of a request's time.
struct TraceSpan {
  enum class Kind : uint8_t {
    kQueue,     // waits: at the entry for a thread, at the lead for a place
    kTemplate,  // the chat is written as the prompt's text
    kTokenize,
    kLoad,    // its model is placed or loaded
    kPrompt,  // a step with rows of its prompt, at the lead
    kToken,   // a step behind it, likewise
    kStage,   // what a device computes of a step
    kWire,    // rows on their way to the next stage and before it, or waits between shards
    kSample,  // output matrix and sampling at the lead
  };
  Kind kind = Kind::kQueue;
  std::string device;     // where; of a wire: whose rows they are
  std::string to = {};    // of a wire between stages: who gets them
  uint32_t stage = 0;     // of a stage, and of the sender of a wire
  uint64_t start_us = 0;  // since the request's start
  uint64_t duration_us = 0;
  std::optional<uint64_t> token = {};  // index of the first token that the step brought
  uint32_t rows = 0;                   // of the request, in a step
  uint32_t choice = 0;                 // of several answers to one prompt
  // Which step of the trace it is a part of; of a step its own number.
  std::optional<uint32_t> step = {};
};
const char* TraceSpanName(TraceSpan::Kind kind);

struct RequestTrace {
  RequestId id;
  std::string model;
  std::string entry;             // the name of the node that was asked
  int64_t started_ms = 0;        // since 1970
  std::vector<TraceSpan> spans;  // by their start; steps before their parts
  uint64_t dropped = 0;          // steps without spans: there were too many
};

}  // namespace exo::node
