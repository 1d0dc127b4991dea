// The calls that the fake node of the service's tests tells of: one that runs, of nobody in
// particular, and one that a key's owner has had.
#pragma once

#include <algorithm>
#include <vector>

#include "node/request_view.h"

namespace exo::service {

inline RequestId FakeRequestId(uint8_t number) {
  RequestId id;
  std::ranges::fill(id.bytes, number);
  return id;
}

inline std::vector<node::RequestView> FakeRequests() {
  return {{.id = FakeRequestId(0x11),
           .model = "tiny",
           .state = node::RequestState::kAnswering,
           .asker = {.dialect = "OpenAI"},
           .entry = "kitchen",
           .started_ms = 1'700'000'000'000,
           .prompt_tokens = 7,
           .generated = 2,
           .tokens_per_second = 50,
           .ttft_ms = 12.5,
           .devices = {"kitchen", "desk"}},
          {.id = FakeRequestId(0x22),
           .model = "tiny",
           .state = node::RequestState::kFailed,
           .asker = {.key = 7, .name = "phone", .dialect = "Ollama"},
           .entry = "kitchen",
           .started_ms = 1'600'000'000'000,
           .ended_ms = 1'600'000'000'250,
           .error = "device desk was lost"}};
}

// Of the first one: a prompt in one step over two devices, and a token.
inline node::RequestTrace FakeTrace() {
  using Kind = node::TraceSpan::Kind;
  const auto step = [](Kind kind, uint32_t number, uint64_t start_us, uint32_t rows) {
    const auto span = [&](Kind part, const char* device, uint32_t stage, uint64_t after,
                          uint64_t duration) {
      return node::TraceSpan{.kind = part,
                             .device = device,
                             .stage = stage,
                             .start_us = start_us + after,
                             .duration_us = duration,
                             .token = number,
                             .step = number};
    };
    std::vector<node::TraceSpan> spans = {
        span(kind, "kitchen", 0, 0, 100),        span(Kind::kStage, "kitchen", 0, 0, 30),
        span(Kind::kWire, "kitchen", 0, 30, 10), span(Kind::kStage, "desk", 1, 40, 40),
        span(Kind::kWire, "desk", 1, 80, 10),    span(Kind::kSample, "kitchen", 0, 90, 10)};
    spans[0].rows = rows;
    spans[2].to = "desk";
    spans[4].to = "kitchen";
    return spans;
  };
  node::RequestTrace trace{.id = FakeRequestId(0x11),
                           .model = "tiny",
                           .entry = "kitchen",
                           .started_ms = 1'700'000'000'000,
                           .spans = {{.kind = Kind::kQueue, .device = "kitchen", .duration_us = 5},
                                     {.kind = Kind::kTokenize,
                                      .device = "kitchen",
                                      .start_us = 5,
                                      .duration_us = 20,
                                      .rows = 7}},
                           .dropped = 3};
  for (const auto& spans : {step(Kind::kPrompt, 0, 50, 7), step(Kind::kToken, 1, 150, 1)})
    trace.spans.insert(trace.spans.end(), spans.begin(), spans.end());
  return trace;
}

}  // namespace exo::service
