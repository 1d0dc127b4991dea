// Continuous batching at the lead of one instance: which rows of which requests form the next
// micro-batch, what comes back from it, and when a request ends. Passive: the stage thread (or the
// simulator) asks for the next step, computes it, samples, and tells the result.
//
//   Submit ─> queued ─(pages for its prompt)─> prefill ─> decode ─> finished
//               ↑└──────────────── Cancel ────────┴──────────┤
//               └─────── put back: no page to go on ─────────┘
//
// KV memory is taken in pages as an answer grows. When there is none left, the youngest request is
// put back: it gives up its pages and computes them again later; no token changes. One that is
// paused (its reader does not read) gives them up for any other that waits. An ended request
// keeps its sequence as long as nobody needs the pages: a request that begins with the same tokens
// forks it and computes only what differs (prefix_index.h).
//
// With a prefix store the pages of a kept sequence are written to the stages' disks, one a step,
// and a request whose beginning lies there rather than in memory has its pages restored before its
// first row (lead_store.cc). A stage that does not have one says so in the step, and the request
// begins anew with what is left.
//
// A micro-batch carries one row of each decoding request that is not in flight and fills up with
// chunks of prompts. Up to kCommonRows decoding requests share one step, beyond that each of the
// pipeline's steps takes its part of them. Beside running requests a chunk is as small as their
// target gap asks for (step_pace.h); several prompts share it, and clients take turns (lead_batch).
// Micro-batches are in flight for all stages, and while only prompts are computed for the links
// between them as well; chunks of one prompt follow each other without waiting. Speculation: drafts
// add rows to a request's next decode item (a verify window), all of which come back; OnStepDone
// takes the tokens that were accepted, and the next step truncates the sequence to them. In a
// pipeline further windows follow before the answer is there, as if all drafts were right
// (lead_ahead.cc). Tokens that a grammar forces come without being computed; their rows are in the
// next item.
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
#include "engine/chunk_size.h"
#include "engine/page_ledger.h"
#include "engine/prefix_index.h"
#include "engine/speculation.h"
#include "engine/step_pace.h"
#include "engine/stored_prefixes.h"
#include "engine/token_mask.h"
#include "wire/messages.h"
#include "wire/plan.h"

namespace exo::engine {

struct LeadOptions {
  PlanId plan;
  uint32_t stages = 1;
  uint32_t context = 0;                  // positions of one request at most
  uint64_t pages = 0;                    // of KV, of all sequences; at least those of a context
  LedgerWindow window = {};              // of layers that have one
  uint32_t page = wire::kPagePositions;  // positions of one
  // A prefix shorter than this is computed: a fork copies the page that it goes on in.
  uint32_t least_shared = 16;
  uint32_t chunk = 256;        // rows of one step at most
  PaceOptions pace = {};       // fewer of them beside running requests
  uint32_t adapters = 0;       // that the plan offers
  uint32_t queue_limit = 256;  // requests that wait for their first turn; beyond: kOverloaded
  // A bug that a test plants: a result is taken although an earlier chunk of its prompt is missing.
  bool plant_no_gap_check = false;
  // Kept sequences are written to the stages' prefix stores and restored from there.
  bool prefix_store = false;
  Hash256 scope;                            // of the pages there (stored_prefixes.h)
  std::vector<ModelId> adapter_files = {};  // of the plan's adapters: part of the pages' names
  // A stored prefix is restored when it is so much longer than what is in memory.
  uint32_t least_restored = 64;
  // Whose KV of the requests in work may be had (moved_pages.h); zero: there is none.
  PlanId former = {};
  bool prefix_cache = true;  // ended requests keep their pages for those that begin alike
  bool speculate = true;     // drafts from the request's own text, where they pay
  // Verify windows of a request in flight at most; 1: none before the answer to the last one.
  uint32_t windows = 16;
};

// A step of so few rows takes as long as one row: reading the weights is what it costs. Two steps
// of half the rows would read them twice.
inline constexpr size_t kCommonRows = 8;

enum class Outputs : uint8_t { kNone, kLast, kAll };

struct LeadItem {
  RequestId request;
  uint32_t first = 0;           // position of tokens[0]
  std::vector<TokenId> tokens;  // rows
  Outputs outputs = Outputs::kNone;
  std::vector<wire::AdapterUse> adapters = {};
  wire::Readout readout = wire::Readout::kNone;  // what its outputs are for
};

// A page to store, with what the lead keeps of it.
struct LeadPage {
  wire::StepPage page;
  Hash256 parent;  // key of the page before it; zero: there is none
  std::vector<TokenId> tokens;
  uint32_t refused = 0;  // so often already
};

struct LeadStep {
  uint64_t step = 0;                         // strictly growing
  std::vector<LeadItem> items;               // may be empty when only sequences are closed
  std::vector<RequestId> close;              // sequences to free before the step
  std::vector<wire::StepTruncate> truncate;  // after that: rejected drafts
  std::vector<wire::StepFork> fork;          // after that: requests that begin like another one
  std::vector<wire::StepPage> restore;       // after that: requests that begin like stored pages
  std::vector<LeadPage> store;               // after the items
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
  wire::Logprobs logprobs = {};   // of the tokens, when asked for
  wire::SamplerState state = {};  // after the last one, also of `forced`
  // Behind the tokens, and not computed: a grammar left no choice.
  std::vector<TokenId> forced = {};
  bool ended = false;  // nothing can follow
  // Of a readout, which has no tokens: the sum of the states of its prompt so far (kMean), else its
  // values.
  std::vector<double> sum = {};
  std::vector<float> values = {};
};

// News about a request, in order.
struct Emission {
  RequestId request;
  std::vector<TokenId> tokens;  // a stop token is not among them
  uint32_t cached = 0;          // tokens of the prompt whose KV was there already
  std::optional<wire::Finished> finished = {};
  wire::Logprobs logprobs = {};              // of the tokens
  wire::SamplerState state = {};             // after the last one
  std::vector<wire::StageTime> stages = {};  // computed for the request so far
  std::vector<wire::StepTrace> steps = {};   // since the last emission about the request
  uint32_t steps_dropped = 0;                // beyond wire::kMaxStepTraces: left out
  // Positions of prompt and answer whose KV all stages have; also told, with no tokens, when a
  // further page of a long prompt is there.
  uint32_t computed = 0;
};

struct LeadStats {
  uint64_t steps = 0;
  uint64_t returned_steps = 0;
  uint64_t stale_steps = 0;    // results of unknown or finished steps: dropped
  uint64_t stale_outputs = 0;  // outputs for requests that ended meanwhile: dropped
  uint64_t decode_rows = 0;
  uint64_t prefill_rows = 0;
  uint64_t cached_rows = 0;      // of prompts: taken over from other sequences, or restored
  uint64_t restored_rows = 0;    // of them: restored
  uint64_t moved_rows = 0;       // of requests that go on here: had from the former plan
  uint64_t recomputed_rows = 0;  // of those: computed anew
  uint64_t stored_pages = 0;     // that all stages took
  uint64_t lost_pages = 0;       // that a stage did not have
  uint64_t put_back = 0;         // requests that lost their pages to older ones
  uint64_t drafted_rows = 0;
  uint64_t accepted_drafts = 0;  // of them: tokens that were sampled as well
  uint64_t windows_ahead = 0;    // verify windows sent before the answer to the last one
  uint64_t stale_windows = 0;    // windows in flight when a guess that they build on was refuted
};

class LeadMachine {
 public:
  explicit LeadMachine(LeadOptions options);
  ~LeadMachine();
  LeadMachine(const LeadMachine&) = delete;
  LeadMachine& operator=(const LeadMachine&) = delete;

  // Errors: kInvalid (other plan, empty or too long prompt, id in use, adapters that the plan does
  // not have), kOverloaded (queue full).
  // `mask`: of the submit's grammar; null: it has none.
  Result<void> Submit(wire::Submit submit, Time now,
                      std::shared_ptr<const TokenMask> mask = nullptr);
  // Ends a request; nothing more is emitted for it. False: unknown.
  bool Cancel(const RequestId& request);
  // A paused request gets no decode rows. It keeps its KV as long as no other one needs the pages,
  // and goes on with the same text. False: unknown.
  bool Pause(const RequestId& request, bool paused);
  // Guesses of the tokens behind the request's last one, instead of its own, for its next decode
  // item: the first `width`. The others are for windows ahead, as many each. Ignored unless the
  // request waits for its next decode row.
  void Draft(const RequestId& request, std::vector<TokenId> tokens, uint32_t width = UINT32_MAX);
  // For a draft model that takes `per_token` for a token (0: not known yet): requests that wait for
  // their next decode row, whose own text suggests nothing and for whom guessing may pay. Valid
  // until the next call that changes the machine.
  std::vector<DraftWish> DraftWishes(Time per_token);
  void TakeGuess(const RequestId& request, std::vector<TokenId> tokens, Time per_token);
  std::vector<RequestId> Decoding() const;

  // The next micro-batch, or nothing to do now (all in flight, or no work).
  std::optional<LeadStep> NextStep(Time now);
  // For the traces of its requests, before the results of a step: its rows are back, and what each
  // stage has computed of it so far. Unknown steps are ignored.
  void OnRowsBack(uint64_t step, std::span<const wire::StageTime> times, Time now);
  // Results of a step: one ItemOutput per item with outputs, in the items' order, without those of
  // `cancelled`, which a stage gave up. `times`: what each stage computed. A result of an unknown
  // step is dropped and counted; outputs that do not match the step's items, or a result that
  // overtook an earlier part of its prompt, are kInvalid (a peer's mistake: the instance has
  // failed). A request that was given up without a Cancel ends with kDisconnected.
  Result<std::vector<Emission>> OnStepDone(uint64_t step, std::span<const ItemOutput> outputs,
                                           std::span<const wire::StageTime> times, Time now,
                                           std::span<const RequestId> cancelled = {});
  // Before that, for a step with pages to restore or to store: what the stages say of them, in
  // `done`. Pages that all have taken, and the StoredKeyOf those that one has lost, for the text of
  // the store. Errors: kInvalid (other pages than the step's).
  struct PageNews {
    std::vector<LeadPage> stored;
    std::vector<Hash256> lost;
  };
  Result<PageNews> OnPages(const wire::Step& done, Time now);
  // A page that lies in the stages' stores since an earlier plan, as `stored` (StoredKeyOf).
  void AddStored(const Hash256& stored, const Hash256& parent, std::vector<TokenId> tokens);
  // The data path or a stage failed: every request ends with this error; the machine stays empty.
  std::vector<Emission> Fail(const Error& error);

  // What the sampler needs: prompt and answer so far, and the entry node's settings. Null: unknown.
  struct View {
    std::span<const TokenId> tokens;  // valid until the next call that changes the machine
    uint32_t prompt_tokens = 0;       // rows of Submit::prompt that are the prompt
    const wire::SamplerSettings* sampler = nullptr;
    const wire::SamplerState* state = nullptr;  // after the last token
    const TokenMask* mask = nullptr;            // null: every token may come
    std::span<const TokenId> read_tokens = {};  // of Readout::kLogits
    std::span<const double> sum = {};           // of Readout::kMean, so far
  };
  std::optional<View> Find(const RequestId& request) const;
  // Rows of which items come back, in order: for the logits of a returned step. Null: unknown step.
  const LeadStep* InFlight(uint64_t step) const;
  // Nobody reads what comes of this item of a step in flight: its request has ended or was put
  // back, or a guess that it builds on was refuted. Its output is expected, and ignored.
  bool IsStale(uint64_t step, size_t item) const;
  // Somebody reads what comes of this step's rows.
  bool Awaits(uint64_t step) const;
  // Refuted since the last call: for the other stages, which need not compute it.
  std::vector<wire::StaleRows> TakeStale() { return std::exchange(stale_, {}); }

  // Requests that wait, with how many before each that are not paused, where that is not what it
  // was when this was asked last.
  struct Waiting {
    RequestId request;
    uint32_t before = 0;
  };
  std::vector<Waiting> QueueNews();

  uint32_t active() const;
  uint32_t queued() const;
  uint32_t in_flight() const { return static_cast<uint32_t>(in_flight_.size()); }
  uint64_t used_pages() const { return ledger_.used(); }
  size_t kept_sequences() const { return kept_.size(); }
  const LeadStats& stats() const { return stats_; }
  const LeadOptions& options() const { return options_; }

 private:
  struct Request;
  struct Flight;
  size_t MostInFlight() const;
  void Admit(LeadStep& step, Time now);
  bool AdmitOne(LeadStep& step, Request& request, Time now);
  Request* NextToAdmit();
  bool PutBackPaused(const LeadStep& step, const Request& request);
  // Pages for positions [first, end) of a request, at the cost of kept sequences that are not
  // forked in this step. False: there are none.
  bool TakePages(const LeadStep& step, const RequestId& request, uint32_t first, uint32_t end);
  bool TakeDecodePages(const LeadStep& step, const Request& request, uint32_t end);
  std::optional<PrefixIndex::Match> FindPrefix(const Request& request);
  std::optional<PrefixIndex::Match> FindKept(const Request& request, size_t count);
  void BeginRequest(Request& request, Time now);
  void CountCached(Request& request);
  // Stored pages that hold more of the request's beginning than the `length` in memory.
  StoredPrefixes::Chain FindStored(const Request& request, uint32_t length) const;
  // Pages of the request that the former plan has left, where they hold more than `length`.
  StoredPrefixes::Chain FindMoved(const Request& request, uint32_t length) const;
  // What stands in front of the first page of a request.
  Hash256 RootOf(const Request& request) const;
  // `tokens`: of a sequence of the request that is or will be kept.
  void ScheduleStores(const Request& request, const RequestId& sequence,
                      std::span<const TokenId> tokens);
  void SchedulePromptEnd(const Request& request);
  void AddRestores(LeadStep& step);
  void AddStore(LeadStep& step, Time now);
  void OnRestored(const wire::StepPage& page, uint64_t serial, bool lost, PageNews& news);
  void OnStored(const LeadPage& page, bool lost, Time now, PageNews& news);
  void PutBack(Request& request);
  void Keep(Request& request);
  void Close(const Request& request);
  void CloseKept(const RequestId& sequence);
  void KeepPromptEnd(LeadStep& step, const Request& request);
  void CloseSequence(const RequestId& sequence);
  void Cut(const RequestId& sequence, uint32_t length);
  void AddDecode(LeadStep& step, StepPace::Rows& rows);
  void AddPrefill(LeadStep& step, StepPace::Rows& rows);
  void AddRows(LeadStep& step, Request& request, uint32_t rows);
  void AddDecodeItem(LeadStep& step, Request& request, size_t streams);
  void AddWindow(LeadStep& step, Request& request, LeadItem item, uint32_t drafts);
  void AddAhead(LeadStep& step, StepPace::Rows& rows);
  bool AddAheadItem(LeadStep& step, Request& request, size_t streams, double visit);
  std::vector<TokenId> GuessAhead(Request& request, uint32_t most, size_t streams, double visit);
  void Confirm(Request& request, std::span<const TokenId> tokens, bool whole);
  void MakeStale(Request& request);
  void TellStale(const Request& request);
  size_t WaitedFor() const;
  double Load() const;
  void AddForced(LeadStep& step, Request& request, uint32_t rows);
  void Guess(Request& request, size_t streams, uint32_t most);
  double ModelDraftCost(Time per_token) const;
  std::vector<Request*> PromptsInTurn();
  // Ends a request; what it computed is kept for others.
  void Drop(const RequestId& request);
  Result<void> CheckOutputs(const LeadStep& step, std::span<const ItemOutput> outputs,
                            std::span<const RequestId> cancelled) const;
  void LearnPace(const Flight& flight, std::span<const wire::StageTime> times, Time now);
  void CountAccepted(Request& request, uint32_t drafted, uint32_t accepted);
  static void AddTrace(Request& request, const Flight& flight, const LeadItem& item, Time now);
  static Emission EmissionOf(Request& request);
  // What one item brought its request; the request is dropped when it ends.
  std::optional<Emission> Accept(Request& request, const LeadItem& item, const ItemOutput* output,
                                 Time now);
  // A stage gave the request up though nobody had cancelled it.
  Emission GiveUp(const Request& request);
  std::optional<Emission> AcceptReadout(Request& request, const LeadItem& item,
                                        const ItemOutput* output, Time now);
  wire::Finished EndOf(const Request& request, wire::FinishReason reason, Time now) const;

  LeadOptions options_;
  std::map<RequestId, std::unique_ptr<Request>> requests_;  // queued and admitted
  std::deque<RequestId> queue_;                             // not admitted, first come first served
  std::vector<RequestId> admitted_;                         // in order of admission
  std::map<uint64_t, Flight> in_flight_;
  std::vector<wire::StaleRows> stale_;  // TakeStale
  std::vector<RequestId> closing_;
  std::vector<wire::StepTruncate> truncating_;
  size_t decode_turn_ = 0;
  StepPace pace_;
  ChunkSize chunk_size_;
  std::map<uint64_t, uint64_t> served_;  // rows of prompts by client, of those with prompts now
  uint64_t next_step_ = 1;
  uint64_t next_serial_ = 1;
  PageLedger ledger_;
  PrefixIndex kept_;                // sequences of ended requests
  std::vector<RequestId> covered_;  // kept ones that a fork has taken over whole: closed next
  // Pages of kept sequences that are not stored yet, in order.
  struct Storing {
    RequestId sequence;
    uint32_t first = 0;
    uint32_t count = 0;
    Hash256 key;
    Hash256 parent;
    uint32_t refused = 0;  // so often by a stage
  };
  StoredPrefixes stored_;
  std::deque<Storing> storing_;
  Time store_after_{};  // a stage had no room
  LeadStats stats_;
};

}  // namespace exo::engine
