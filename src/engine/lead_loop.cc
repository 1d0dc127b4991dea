#include "engine/lead_loop.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "engine/plan_window.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

constexpr Time kIdlePoll = std::chrono::seconds(1);
constexpr Time kTellQueue = std::chrono::seconds(1);
// For the texts of the prefix store, before the first request: it is worth more than this.
constexpr Time kTextsWait = std::chrono::milliseconds(300);

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

LeadOptions MachineOptions(const RunnerOptions& options, StageWorker& stage) {
  const wire::Plan& plan = options.plan;
  LeadOptions lead = options.lead;
  lead.plan = plan.id;
  lead.stages = static_cast<uint32_t>(wire::GroupsOf(plan).size());
  lead.context = plan.context;
  lead.pages = plan.kv_pages;
  lead.window = WindowOf(plan, stage.config());
  lead.chunk = plan.chunk;
  lead.adapters = static_cast<uint32_t>(plan.adapters.size());
  // A shard has no whole pages to keep.
  const bool keeps =
      !wire::HasShards(plan) && stage.compute().SavedBytes(1, backend::PageForm::kWhole);
  lead.prefix_store = options.pages != nullptr && lead.prefix_cache && keeps;
  lead.scope = PageScopeOf(options);
  if (keeps) lead.former = options.former;
  for (const wire::AdapterRef& adapter : plan.adapters) lead.adapter_files.push_back(adapter.file);
  return lead;
}

// Requests that a stage gave up, and rows of outputs that come back nevertheless.
struct Returned {
  std::vector<RequestId> cancelled;
  size_t outputs = 0;
};
Returned WhatReturned(const LeadStep& step, const wire::Step& done) {
  Returned returned;
  for (const wire::StepItem& item : done.items) {
    if (item.cancelled) returned.cancelled.push_back(item.request);
  }
  for (const LeadItem& item : step.items) {
    if (std::ranges::find(returned.cancelled, item.request) == returned.cancelled.end())
      returned.outputs += OutputRows(item);
  }
  return returned;
}

}  // namespace

Hash256 PageScopeOf(const RunnerOptions& options) {
  return ScopeOf(
      {options.plan.model, options.numerics, options.plan.kv_type, wire::LossOf(options.plan)});
}

LeadLoop::LeadLoop(const RunnerOptions& options, StageWorker& stage, LeadCommands& commands,
                   CancellationSet& cancelled, Links links, const RunnerEvents& events,
                   GrammarMasks& masks, DraftModel* draft,
                   std::shared_ptr<backend::PageTexts> texts)
    : options_(options),
      stage_(stage),
      commands_(commands),
      cancelled_(cancelled),
      links_(std::move(links)),
      rows_(options.plan.codec, stage.config().width, options.plan.chunk, options.sent),
      events_(events),
      machine_(MachineOptions(options, stage)),
      sampler_(options.recorded),
      masks_(masks),
      draft_(draft),
      texts_(std::move(texts)) {}

Result<void> LeadLoop::Run(const std::atomic<bool>& stop) {
  auto result = Work(stop);
  if (!result) {
    if (lost_.IsZero() && links_.shards != nullptr) lost_ = links_.shards->lost();
    result = std::unexpected(Explain(result.error()));
    Emit(machine_.Fail(result.error()));
    for (const auto& [request, waiting] : unmasked_) ReportError(request, result.error());
  }
  CountRequests();
  return result;
}

// Human-readable: which device, which layers.
Error LeadLoop::Explain(const Error& error) const {
  const int stage = StageOf(options_.plan, lost_);
  if (stage < 0) return error;
  return {error.code,
          fmt::format("device {} with {} was lost ({})", options_.names[static_cast<size_t>(stage)],
                      DescribeStage(options_.plan, stage), error.message)};
}

Result<void> LeadLoop::Work(const std::atomic<bool>& stop) {
  TakeTexts(std::chrono::steady_clock::now() + kTextsWait);
  while (!stop.load()) {
    TakeCommands();
    TakeTexts();
    TRY(Guess());
    auto step = machine_.NextStep(sys::Now());
    TellQueue();
    if (step) {
      TRY(StartStep(*step));
      CountRequests();
      if (!alone()) TRY(Receive(Time(0)));
      continue;
    }
    CountRequests();
    if (alone()) {
      sys::WaitReadable(commands_.wake.fd(), kIdlePoll);
    } else {
      TRY(Receive(sys::Now() + kIdlePoll));
    }
  }
  return {};
}

void LeadLoop::TakeCommands() {
  commands_.wake.Drain();
  for (LeadCommands::Command& command : commands_.Take()) {
    if (auto* submit = std::get_if<wire::Submit>(&command)) {
      if (submit->sampler.grammar.parts.empty()) {
        TakeSubmit(std::move(*submit), nullptr);
      } else {
        MakeMask(std::move(*submit));
      }
    } else if (const auto* pause = std::get_if<wire::PauseRequest>(&command)) {
      const auto waiting = unmasked_.find(pause->request);
      if (waiting != unmasked_.end()) waiting->second.paused = pause->paused;
      machine_.Pause(pause->request, pause->paused);
    } else if (const auto* made = std::get_if<MaskMade>(&command)) {
      TakeMask(*made);
    } else {
      const RequestId& request = std::get<wire::CancelRequest>(command).request;
      unmasked_.erase(request);
      machine_.Cancel(request);
    }
  }
}

void LeadLoop::TakeSubmit(wire::Submit submit, std::shared_ptr<const TokenMask> mask) {
  const RequestId request = submit.request;
  if (auto accepted = machine_.Submit(std::move(submit), sys::Now(), std::move(mask)); !accepted)
    ReportError(request, accepted.error());
}

// The commands outlive the masks, and with them what they still do.
void LeadLoop::MakeMask(wire::Submit submit) {
  const RequestId request = submit.request;
  const wire::Grammar grammar = submit.sampler.grammar;
  unmasked_[request] = {.submit = std::move(submit)};
  masks_.Make(grammar, [&commands = commands_, request](auto mask) {
    commands.Push(MaskMade{request, std::move(mask)});
  });
}

void LeadLoop::TakeMask(const MaskMade& made) {
  auto waiting = unmasked_.extract(made.request);
  if (waiting.empty()) return;  // cancelled meanwhile
  if (!made.mask) return ReportError(made.request, made.mask.error());
  TakeSubmit(std::move(waiting.mapped().submit), *made.mask);
  if (waiting.mapped().paused) machine_.Pause(made.request, true);
}

// They come when the store has read them; requests before that find nothing there.
void LeadLoop::TakeTexts(std::chrono::steady_clock::time_point deadline) {
  if (texts_ == nullptr) return;
  auto texts = texts_->Take(deadline);
  if (!texts) return;
  for (backend::PageText& text : *texts)
    machine_.AddStored(text.key, text.parent, std::move(text.tokens));
  texts_.reset();
}

Result<void> LeadLoop::NotePages(const LeadStep& step, const wire::Step& done) {
  if (step.restore.empty() && step.store.empty()) return {};
  const uint64_t restored = machine_.stats().restored_rows;
  auto news = TRY(machine_.OnPages(done, sys::Now()));
  if (options_.pages == nullptr) return {};
  const Hash256& scope = machine_.options().scope;
  for (LeadPage& page : news.stored)
    options_.pages->SaveText({.key = StoredKeyOf(page.page.key, page.page.bare),
                              .scope = scope,
                              .parent = page.parent,
                              .tokens = std::move(page.tokens),
                              .index = page.page.first / wire::kPagePositions});
  for (const Hash256& key : news.lost) options_.pages->ForgetText(scope, key);
  options_.pages->NoteRestored(static_cast<uint32_t>(machine_.stats().restored_rows - restored));
  return {};
}

Result<void> LeadLoop::StartStep(const LeadStep& step) {
  commands_.working.store(true);
  if (options_.led != nullptr && !step.items.empty()) {
    ++options_.led->steps;
    options_.led->requests += step.items.size();
  }
  std::vector<TokenId> tokens;
  for (const LeadItem& item : step.items)
    tokens.insert(tokens.end(), item.tokens.begin(), item.tokens.end());
  wire::Step sent = ToWire(options_.plan.id, step);
  TRY(links_.shards == nullptr ? RunStage(sent, tokens) : RunShard(sent, tokens));
  if (!alone()) {
    return links_.Send(sent, rows_.Code(stage_.hidden(), links_.out.size()),
                       sys::Now() + options_.timers.send, lost_);
  }
  machine_.OnRowsBack(step.step, sent.times, sys::Now());
  const LeadStep* in_flight = machine_.InFlight(step.step);
  return FinishStep(*in_flight, stage_.running(), sent);
}

// Of both: `sent` gets the times of those that computed.
Result<void> LeadLoop::RunStage(wire::Step& sent, std::span<const TokenId> tokens) {
  const Time start = sys::Now();
  TRY(stage_.Run(sent, {.tokens = tokens, .wanted = wanted()}, cancelled_));
  const wire::StagePlan& own = options_.plan.stages[0];
  sent.times.push_back(
      {own.node, own.layer_begin, own.layer_end, Microseconds(sys::Now() - start)});
  return {};
}

// The others hold no embedding: they are told the rows.
Result<void> LeadLoop::RunShard(wire::Step& sent, std::span<const TokenId> tokens) {
  ShardGroup& shards = *links_.shards;
  shards.Begin(sent.step);
  std::vector<float> rows;
  if (!tokens.empty()) {
    const auto embedded = TRY(stage_.compute().Run({.tokens = tokens}));
    const auto own = TRY(embedded->Wait());
    rows.assign(own.begin(), own.end());
  }
  TRY(shards.Tell(sent, rows));
  TRY(stage_.Run(sent, {.hidden = rows, .wanted = wanted(), .collective = &shards}, cancelled_));
  sent.times = shards.Times();
  return {};
}

Result<void> LeadLoop::Receive(Time deadline) {
  auto outcome = links_.in->Poll(deadline, commands_.wake.fd());
  if (!outcome) {
    lost_ = links_.in->peer();
    return std::unexpected(outcome.error());
  }
  if (outcome->event != DataLink::Event::kFrame) return {};
  if (auto* failed = std::get_if<wire::StepFailed>(outcome->frame.message)) {
    return Fail(failed->code, "a stage failed: {}", failed->message);
  }
  auto* step = std::get_if<wire::Step>(outcome->frame.message);
  if (step == nullptr) return Fail(ErrorCode::kCorrupt, "an unexpected message on a data link");
  if (step->plan != options_.plan.id) return {};  // a stale frame of another plan
  return OnReturned(*step, TRY(rows_.Decode(outcome->frame.tensor)));
}

Result<void> LeadLoop::OnReturned(const wire::Step& returned, std::span<const float> rows) {
  const LeadStep* step = machine_.InFlight(returned.step);
  if (step == nullptr) return {};
  machine_.OnRowsBack(returned.step, returned.times, sys::Now());
  const size_t outputs = WhatReturned(*step, returned).outputs;
  const size_t width = stage_.config().width;
  if (rows.size() != outputs * width) {
    return Fail(ErrorCode::kCorrupt, "step {} came back with {} values for {} rows of {}",
                returned.step, rows.size(), outputs, width);
  }
  if (outputs == 0 || !machine_.Awaits(returned.step)) return FinishStep(*step, nullptr, returned);
  std::vector<uint32_t> all(outputs);
  std::iota(all.begin(), all.end(), 0u);
  const auto running = TRY(stage_.compute().Run({.hidden = rows,
                                                 .output_rows = all,
                                                 .wanted = backend::Wanted::kLogits,
                                                 .collective = links_.shards}));
  TRY(running->Wait());
  return FinishStep(*step, running.get(), returned);
}

Result<void> LeadLoop::FinishStep(const LeadStep& step, backend::Running* running,
                                  const wire::Step& done) {
  const Time start = sys::Now();
  TRY(NotePages(step, done));
  const Returned returned = WhatReturned(step, done);
  // A stage gives up only what was cancelled here: that command may still be waiting.
  if (!returned.cancelled.empty()) TakeCommands();
  const auto outputs =
      TRY(sampler_.Sample(machine_, step, returned.cancelled, stage_.compute(), running));
  std::vector<wire::StageTime> times = done.times;
  if (links_.shards != nullptr && alone()) {
    times = links_.shards->Times();
  } else if (!times.empty()) {
    times[0].microseconds += Microseconds(sys::Now() - start);
  }
  for (const StepSampler::Failure& failure : outputs.failures) {
    machine_.Cancel(failure.request);
    ReportError(failure.request, failure.error);
  }
  Emit(TRY(machine_.OnStepDone(step.step, outputs.items, times, sys::Now(), returned.cancelled)));
  for (wire::StaleRows& stale : machine_.TakeStale()) events_.on_stale(std::move(stale));
  return {};
}

void LeadLoop::ReportError(const RequestId& request, const Error& error) {
  wire::Finished finished;
  finished.request = request;
  finished.reason = wire::FinishReason::kError;
  finished.code = error.code;
  finished.message = error.message;
  events_.on_finished(std::move(finished));
}

void LeadLoop::Emit(std::vector<Emission> emissions) {
  for (Emission& emission : emissions) {
    // Without tokens and an end it says how far a prompt is.
    if (!emission.tokens.empty() || !emission.finished) {
      events_.on_tokens({.request = emission.request,
                         .tokens = std::move(emission.tokens),
                         .cached = emission.cached,
                         .logprobs = std::move(emission.logprobs),
                         .state = std::move(emission.state),
                         .stages = std::move(emission.stages),
                         .steps = std::exchange(emission.steps, {}),
                         .steps_dropped = std::exchange(emission.steps_dropped, 0),
                         .computed = emission.computed});
    }
    if (!emission.finished) continue;
    emission.finished->steps = std::move(emission.steps);
    emission.finished->steps_dropped = emission.steps_dropped;
    events_.on_finished(std::move(*emission.finished));
  }
}

// What the draft model thinks comes next, for requests whose own text does not say it.
Result<void> LeadLoop::Guess() {
  if (draft_ == nullptr) return {};
  const auto wishes = machine_.DraftWishes(draft_->per_token());
  if (wishes.empty()) return {};
  std::vector<RequestId> alive;
  for (const DraftWish& wish : wishes) alive.push_back(wish.request);
  for (const RequestId& request : machine_.Decoding()) alive.push_back(request);
  draft_->Keep(alive);
  for (DraftModel::Guess& guess : TRY(draft_->Draft(wishes)))
    machine_.TakeGuess(guess.request, std::move(guess.tokens), draft_->per_token());
  return {};
}

void LeadLoop::TellQueue() {
  if (machine_.queued() == 0 || sys::Now() - queue_told_ < kTellQueue) return;
  queue_told_ = sys::Now();
  for (const LeadMachine::Waiting& waiting : machine_.QueueNews())
    events_.on_queued(waiting.request, waiting.before);
}

void LeadLoop::CountRequests() {
  commands_.active.store(machine_.active());
  commands_.queued.store(machine_.queued());
  commands_.used_pages.store(machine_.used_pages());
  commands_.working.store(machine_.in_flight() > 0);
  commands_.steps.store(machine_.stats().steps + machine_.stats().returned_steps);
  if (options_.led == nullptr) return;
  const LeadStats& stats = machine_.stats();
  options_.led->moved_tokens += stats.moved_rows - std::exchange(told_.moved, stats.moved_rows);
  options_.led->recomputed_tokens +=
      stats.recomputed_rows - std::exchange(told_.recomputed, stats.recomputed_rows);
}

}  // namespace exo::engine
