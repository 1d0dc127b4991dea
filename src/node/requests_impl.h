// One answer of Requests and its choices. Private to requests.cc and requests_choices.cc.
#pragma once

#include <deque>

#include "node/reading.h"
#include "node/requests.h"

namespace exo::node {

// What the task queue makes of a request.
struct Requests::Prepared {
  std::vector<TokenId> prompt;
  std::vector<TokenId> dry_break_tokens, dry_break_sequences;
  wire::Readout readout = wire::Readout::kNone;
  std::vector<TokenId> read_tokens = {};
  std::shared_ptr<const Reading> reading;
  Time begun{}, text_at{}, done{};  // when it was made: as in Prompt
};

// What a client waits for: one or more choices, each a request of its own.
struct Requests::Answer {
  GenerateSink* sink = nullptr;
  std::vector<RequestId> running;         // choices that have not ended
  std::vector<TokenId> prompt;            // for the choices that have not begun
  std::vector<TokenId> told_prompt = {};  // for a client that wants it
  uint32_t begun = 1;
  uint32_t choices = 1;
  bool started = false;         // OnStarted was called
  Time start{}, first_token{};  // of any choice
  GenerateStats stats;          // of the choices that have ended
  std::shared_ptr<RequestRecord> record;
};

struct Requests::Request {
  RequestId id;
  GenerateRequest request;
  std::shared_ptr<Answer> answer;
  ModelId model;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<TokenId> prompt;  // until it is submitted
  wire::Readout readout = wire::Readout::kNone;
  std::vector<TokenId> read_tokens;
  uint32_t prompt_tokens = 0;
  uint32_t cached = 0;  // of them: their KV was there already
  std::unique_ptr<engine::TextStream> text;
  std::shared_ptr<const Reading> reading;      // null: the answer is text
  std::unique_ptr<chat::AnswerReader> reader;  // of `text`, likewise
  wire::Plan plan;
  std::vector<wire::AdapterUse> adapters;  // of the plan's
  bool submitted = false;
  bool waits = false;  // for a place, as the lead said; until a token comes
  bool paused = false;
  bool delivery_posted = false;                 // goes on in a later turn of the loop
  std::deque<TokenId> pending;                  // arrived, not shown yet
  std::deque<SampledLogprob> pending_logprobs;  // of them, when asked for
  std::optional<wire::Finished> pending_end;    // likewise
  uint32_t generated = 0;
  std::vector<wire::StageTime> stages;  // computed so far
  Time start{}, first_token{}, last_token{};
  bool measured = false;  // its prompt's computing
  Time prepared_at{};
  Time read_again_until{};  // its model's file has changed and is being read again
  std::unique_ptr<net::Timer> again;
  std::unique_ptr<net::Timer> announce;  // Announce, if no token comes before

  uint32_t choice() const { return request.sampler.choice; }
};

}  // namespace exo::node
