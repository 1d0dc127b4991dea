// One stage of one instance on this node: a thread that loads the weights, then owns the stage's
// compute and its data links until it is stopped. At the lead (stage 0) it also batches, samples
// and emits.
//
//   load ─> (all stages loaded: Serve) ─> link up ─> lead: batch, compute, send / receive, sample
//                                                    other: receive, compute, send
//
// What may be computed is decided by the passive machines LeadMachine and StageMachine,
// which the simulator drives as well; this file only moves bytes and time.
//
// Thread: all public methods on the loop thread; RunnerEvents are called on the runner's own
// thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/page_store.h"
#include "engine/coded_rows.h"
#include "engine/data_link.h"
#include "engine/lead.h"
#include "engine/link_traffic.h"
#include "engine/stage_source.h"
#include "engine/stage_store.h"
#include "engine/timers.h"
#include "grammar/cache.h"
#include "wire/messages.h"

namespace exo::engine {

struct RunnerEvents {
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;
  std::function<void(Result<void> result, uint64_t milliseconds)> on_loaded;
  // `lost`: the neighbor whose link broke, or zero.
  std::function<void(Error error, NodeId lost)> on_failed;
  // Without plan and first_index. No tokens: a prompt goes on (Emission::computed).
  std::function<void(wire::Tokens tokens)> on_tokens;
  std::function<void(RequestId request, uint32_t before)> on_queued;
  std::function<void(wire::Finished finished)> on_finished;
  // Of a lead: rows in flight that the other stages need not compute.
  std::function<void(wire::StaleRows stale)> on_stale;
};

// Steps of the leads of a node, for its metrics. Thread: any.
struct LedSteps {
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> requests{0};  // with rows in them
  // Of answers that go on here: positions whose KV was had from the former plan, and the others.
  std::atomic<uint64_t> moved_tokens{0};
  std::atomic<uint64_t> recomputed_tokens{0};
};

struct RunnerOptions {
  wire::Plan plan;
  uint32_t stage = 0;
  NodeId self;
  std::vector<std::string> names;  // of the stages' nodes, for messages
  StageTimers timers = {};
  LeadOptions lead = {};                    // pace and switches; the rest of it is the plan's
  std::shared_ptr<StageSource> draft = {};  // of the plan's draft model, at the lead
  // Where KV pages outlive the plan; null: nowhere. Outlives the runner.
  backend::PageStore* pages = nullptr;
  NumericsId numerics;  // part of their names
  // What the former plan of the model has left, and how it is had; none: nothing.
  PlanId former = {};
  LoadMoved load_moved = {};
  // Where the KV of what is in work goes when the plan moves; null: nowhere. Outlives the runner.
  MovedPages* moved = nullptr;
  // Compiled forms of answers, which whoever checked a request has put there. Outlives the runner;
  // null: each form is compiled for its first request.
  grammar::Cache* grammars = nullptr;
  SentRows* sent = nullptr;        // counts what goes to other stages. Outlives the runner
  LinkTraffic* traffic = nullptr;  // likewise, by link
  LedSteps* led = nullptr;         // likewise the steps of the lead
  // For measuring (replay.h): the whole text, whose tokens stand for those that are sampled.
  const std::vector<TokenId>* recorded = nullptr;
};

// How the runner reaches a stage that it connects to (wire::ConnectsTo).
struct NextStage {
  NodeId node;
  // Blocks until `deadline` (sys::Now time). Errors: kDisconnected, kInvalid (refused).
  std::function<Result<std::unique_ptr<DataLink>>(Time deadline)> connect;
};

class InstanceRunner {
 public:
  // Starts loading at once, unless `stages` has this stage: then it is taken over. Both outlive the
  // object.
  static std::unique_ptr<InstanceRunner> Start(backend::Backend& backend, StageStore& stages,
                                               std::unique_ptr<StageSource> source,
                                               RunnerOptions options, RunnerEvents events);
  // Stops and joins: the time of one work item, or of a connection that is being opened (10 s at
  // most); a read from a hung disk has no limit. Not on the loop.
  virtual ~InstanceRunner() = default;
  // Before the end: the stage goes to the StageStore, a plan that comes next may take it over. Of a
  // plan that moves, the KV of what is in work goes to RunnerOptions::moved.
  virtual void KeepStage(bool moves) = 0;

  // All stages are loaded: connect to these, in the order of wire::ConnectsTo.
  virtual void Serve(std::vector<NextStage> next) = 0;
  // A link that one of wire::ConnectedFrom opened.
  virtual void GiveLink(std::unique_ptr<DataLink> link) = 0;
  // Lead only.
  virtual void Submit(wire::Submit submit) = 0;
  virtual void Cancel(const RequestId& request) = 0;
  // Lead only: no decode rows for this request until it is unpaused; its KV stays.
  virtual void Pause(const RequestId& request, bool paused) = 0;
  // Rows of this request need not be computed any more, also in the step that is running. Ignored
  // unless `from` is the plan's lead.
  virtual void CancelRows(const NodeId& from, const RequestId& request) = 0;
  // Likewise those in steps up to `stale.through_step`.
  virtual void DropRows(const NodeId& from, const wire::StaleRows& stale) = 0;
  // Lead only: requests in work and waiting.
  virtual uint32_t active() const = 0;
  virtual uint32_t queued() const = 0;
  // Lead only: pages of KV that are taken, of Plan::kv_pages.
  virtual uint64_t used_pages() const = 0;
  // Lead only, about once a second: `progress` is any number that changes when work is done on one
  // of the plan's nodes. A plan without any, though a step is in flight, has failed
  // (stall_watch.h).
  virtual void Watch(uint64_t progress, Time now) = 0;
};

}  // namespace exo::engine
