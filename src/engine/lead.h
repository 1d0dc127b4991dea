// Continuous batching at the lead of one instance: which rows of which requests form the next
// micro-batch, what comes back from it, and when a request ends. Passive: the stage thread (or the
// simulator) asks for the next step, computes it, samples, and tells the result.
//
//   Submit ─> queued ─(pages for its prompt)─> prefill ─> decode ─> finished
//               ↑└──────────────── Cancel ────────┴──────────┤
//               └─────── put back: no page to go on ─────────┘
//
// KV memory is taken in pages as an answer grows. When there is none left, the youngest request is
// put back: it gives up its pages and computes them again later; no token changes. An ended request
// keeps its sequence as long as nobody needs the pages: a request that begins with the same tokens
// forks it and computes only what differs (prefix_index.h).
//
// A micro-batch carries one row of each decoding request that is not in flight (a fair share of
// them, so that every stage has work) and fills up with chunks of prompts: a new prompt delays a
// running request by one chunk at most. At most `stages` micro-batches are in flight; chunks of one
// prompt follow each other without waiting. Speculation: Draft adds rows to a request's next decode
// item, all of which come back; OnStepDone takes the tokens that were accepted, and the next step
// truncates the sequence to them.
//
// Thread: one caller at a time. Owner: the instance at the lead's node.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "engine/page_ledger.h"
#include "engine/prefix_index.h"
#include "wire/messages.h"
#include "wire/plan.h"

namespace exo::engine {

struct LeadOptions {
  PlanId plan;
  uint32_t stages = 1;
  uint32_t context = 0;                  // positions of one request at most
  uint64_t pages = 0;                    // of KV, of all sequences; at least those of a context
  uint32_t page = wire::kPagePositions;  // positions of one
  // A prefix shorter than this is computed: a fork copies the page that it goes on in.
  uint32_t least_shared = 16;
  uint32_t chunk = 256;        // rows of one step
  uint32_t queue_limit = 256;  // waiting requests; beyond: kOverloaded (HTTP 429)
  // A bug that a test plants: a result is taken although an earlier chunk of its prompt is missing.
  bool plant_no_gap_check = false;
  bool prefix_cache = true;  // ended requests keep their pages for those that begin alike
};

enum class Outputs : uint8_t { kNone, kLast, kAll };

struct LeadItem {
  RequestId request;
  uint32_t first = 0;           // position of tokens[0]
  std::vector<TokenId> tokens;  // rows
  Outputs outputs = Outputs::kNone;
};

struct LeadStep {
  uint64_t step = 0;                         // strictly growing
  std::vector<LeadItem> items;               // may be empty when only sequences are closed
  std::vector<RequestId> close;              // sequences to free before the step
  std::vector<wire::StepTruncate> truncate;  // after that: rejected drafts
  std::vector<wire::StepFork> fork;          // after that: requests that begin like another one
  uint32_t rows = 0;
  uint32_t outputs = 0;  // rows that come back
};
// Rows of an item that come back.
uint32_t OutputRows(const LeadItem& item);
// The same step for the data links.
wire::Step ToWire(const PlanId& plan, const LeadStep& step);

// What was sampled for one item of a step with outputs. With kAll: the accepted drafts and one
// token more, at least one and at most one per row.
struct ItemOutput {
  RequestId request;
  std::vector<TokenId> tokens;
};

// News about a request, in order.
struct Emission {
  RequestId request;
  std::vector<TokenId> tokens;  // a stop token is not among them
  uint32_t cached = 0;          // tokens of the prompt whose KV was there already
  std::optional<wire::Finished> finished;
};

struct LeadStats {
  uint64_t steps = 0;
  uint64_t returned_steps = 0;
  uint64_t stale_steps = 0;    // results of unknown or finished steps: dropped
  uint64_t stale_outputs = 0;  // outputs for requests that ended meanwhile: dropped
  uint64_t decode_rows = 0;
  uint64_t prefill_rows = 0;
  uint64_t cached_rows = 0;  // of prompts: taken over from other sequences
  uint64_t put_back = 0;     // requests that lost their pages to older ones
};

class LeadMachine {
 public:
  explicit LeadMachine(LeadOptions options);
  ~LeadMachine();
  LeadMachine(const LeadMachine&) = delete;
  LeadMachine& operator=(const LeadMachine&) = delete;

  // Errors: kInvalid (other plan, empty or too long prompt, id in use), kOverloaded (queue full).
  Result<void> Submit(wire::Submit submit, Time now);
  // Ends a request; nothing more is emitted for it. False: unknown.
  bool Cancel(const RequestId& request);
  // A paused request keeps its place and its KV but gets no decode rows. False: unknown.
  bool Pause(const RequestId& request, bool paused);
  // Guesses of the tokens behind the request's last one, for its next decode item only. Ignored
  // unless the request waits for its next decode row.
  void Draft(const RequestId& request, std::vector<TokenId> tokens);

  // The next micro-batch, or nothing to do now (all in flight, or no work).
  std::optional<LeadStep> NextStep(Time now);
  // Results of a step: one ItemOutput per item with outputs, in the items' order, without those of
  // `cancelled`, which a stage gave up. `times`: what each stage computed. A result of an unknown
  // step is dropped and counted; outputs that do not match the step's items, or a result that
  // overtook an earlier part of its prompt, are kInvalid (a peer's mistake: the instance has
  // failed). A request that was given up without a Cancel ends with kDisconnected.
  Result<std::vector<Emission>> OnStepDone(uint64_t step, std::span<const ItemOutput> outputs,
                                           std::span<const wire::StageTime> times, Time now,
                                           std::span<const RequestId> cancelled = {});
  // The data path or a stage failed: every request ends with this error; the machine stays empty.
  std::vector<Emission> Fail(const Error& error);

  // What the sampler needs: prompt and answer so far, and the entry node's settings. Null: unknown.
  struct View {
    std::span<const TokenId> tokens;  // valid until the next call that changes the machine
    uint32_t prompt_tokens = 0;       // rows of Submit::prompt that are the prompt
    const wire::SamplerSettings* sampler = nullptr;
  };
  std::optional<View> Find(const RequestId& request) const;
  // Rows of which items come back, in order: for the logits of a returned step. Null: unknown step.
  const LeadStep* InFlight(uint64_t step) const;

  uint32_t active() const;
  uint32_t queued() const;
  uint32_t in_flight() const { return static_cast<uint32_t>(in_flight_.size()); }
  uint64_t used_pages() const { return ledger_.used(); }
  size_t kept_sequences() const { return kept_.size(); }
  const LeadStats& stats() const { return stats_; }

 private:
  struct Request;
  struct Flight;
  void Admit(LeadStep& step, Time now);
  bool AdmitOne(LeadStep& step, Request& request, Time now);
  // Pages for positions [first, end) of a request, at the cost of kept sequences that are not
  // forked in this step. False: there are none.
  bool TakePages(const LeadStep& step, const RequestId& request, uint32_t first, uint32_t end);
  bool TakeDecodePages(const LeadStep& step, const Request& request, uint32_t end);
  std::optional<PrefixIndex::Match> FindPrefix(const Request& request);
  void PutBack(Request& request);
  void Keep(Request& request);
  void Close(const Request& request);
  void CloseKept(const RequestId& sequence);
  void CloseSequence(const RequestId& sequence);
  void Cut(const RequestId& sequence, uint32_t length);
  void AddDecode(LeadStep& step);
  void AddPrefill(LeadStep& step);
  void AddRows(LeadStep& step, Request& request, uint32_t rows);
  void AddDecodeItem(LeadStep& step, Request& request);
  // Ends a request; what it computed is kept for others.
  void Drop(const RequestId& request);
  Result<void> CheckOutputs(const LeadStep& step, std::span<const ItemOutput> outputs,
                            std::span<const RequestId> cancelled) const;
  // What one item brought its request; the request is dropped when it ends.
  std::optional<Emission> Accept(Request& request, const LeadItem& item, const ItemOutput* output,
                                 Time now);
  // A stage gave the request up though nobody had cancelled it.
  Emission GiveUp(const Request& request);

  LeadOptions options_;
  std::map<RequestId, std::unique_ptr<Request>> requests_;  // queued and admitted
  std::deque<RequestId> queue_;                             // not admitted, first come first served
  std::vector<RequestId> admitted_;                         // in order of admission
  std::map<uint64_t, Flight> in_flight_;
  std::vector<RequestId> closing_;
  std::vector<wire::StepTruncate> truncating_;
  size_t decode_turn_ = 0;
  uint64_t next_step_ = 1;
  uint64_t next_serial_ = 1;
  PageLedger ledger_;
  PrefixIndex kept_;                // sequences of ended requests
  std::vector<RequestId> covered_;  // kept ones that a fork has taken over whole: closed next
  LeadStats stats_;
};

}  // namespace exo::engine
