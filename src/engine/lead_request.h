// A request of the LeadMachine, and a step of it in flight. Private to lead*.cc.
#pragma once

#include "engine/lead.h"
#include "engine/speculation.h"

namespace exo::engine {

struct LeadMachine::Request {
  uint64_t serial = 0;  // tells two uses of one request id apart
  wire::Submit submit;  // without the prompt: that is the beginning of `tokens`
  std::shared_ptr<const TokenMask> mask;
  std::vector<TokenId> tokens;    // prompt and answer
  uint32_t start = 0;             // tokens that were known when it began, or began again
  uint32_t max_tokens_total = 0;  // tokens.size() at the end
  uint32_t cached = 0;            // rows taken over from other sequences, at the first admission
  uint32_t scheduled = 0;         // rows in steps so far
  uint32_t computed = 0;          // of them: results are back
  // Stored pages that it begins with, until all of them are back: no rows before that.
  StoredPrefixes::Chain restoring;
  size_t restores_sent = 0;  // of its pages
  bool admitted = false;
  std::optional<uint32_t> told_before;  // QueueNews
  bool counted = false;                 // `cached` is known
  bool paused = false;
  std::vector<TokenId> draft;  // for the next decode item
  uint32_t match = 0;          // of the draft; 0: not its own
  double draft_cost = 0;       // and what each row of it costs, in tokens
  std::vector<TokenId> later;  // behind the draft: for windows ahead of `width` tokens
  uint32_t width = 0;
  PromptLookup lookup;
  DraftPayoff payoff;
  std::deque<uint32_t> windows;        // matches of the decode items in flight, the oldest first
  std::vector<TokenId> ahead;          // drafts in flight: scheduled behind `tokens`
  uint32_t drafted = 0, accepted = 0;  // in all
  Time admitted_at{};
  Time first_token_at{};
  std::vector<wire::StageTime> times;
  Time submitted_at{};
  std::vector<wire::StepTrace> steps;  // since the last emission
  uint32_t steps_dropped = 0;          // of them: left out
  std::vector<double> sum;             // of a mean, of the rows computed

  bool reads() const { return submit.readout != wire::Readout::kNone; }
  bool decoding() const { return tokens.size() > start; }
  // A decoding request has a row to compute only when its last token came back, and one more for
  // each token that a grammar has forced since. While drafts are in flight more rows are scheduled
  // than there are tokens.
  uint32_t pending() const {
    if (!restoring.pages.empty()) return 0;
    const auto known = static_cast<uint32_t>(tokens.size());
    return known > scheduled ? known - scheduled : 0;
  }
  uint32_t generated() const { return static_cast<uint32_t>(tokens.size()) - submit.prompt_tokens; }
};

// The sequence that keeps the windows of a request as they are at the end of its prompt.
inline RequestId PromptEndOf(const RequestId& request) {
  RequestId end = request;
  for (uint8_t& byte : end.bytes) byte ^= 0xA5;  // a name of its own
  return end;
}

struct LeadMachine::Flight {
  LeadStep step;
  StepPace::Rows rows = {};
  Time begun{};
  size_t depth = 1;           // steps in flight when it began, itself included, without those ahead
  bool ahead = false;         // of windows ahead only
  bool beside_ahead = false;  // others were, when it began
  double load = 0;            // of a step of streams: its part of the pipeline
  std::optional<Time> returned = {};           // its rows are back
  std::vector<uint64_t> stage_us = {};         // computed until then by each stage
  std::vector<uint64_t> serials = {};          // of the items' requests
  std::vector<uint64_t> restore_serials = {};  // of those of the pages to restore
};

}  // namespace exo::engine
