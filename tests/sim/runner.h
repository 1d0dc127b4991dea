// One instance on one simulated node: the real StageMachine and LeadMachine over the fake model, as
// the stage thread of a real node drives them. Shards of a group compute all of its layers here,
// each with KV of its own, and the lead goes on when all of the last group have said the same: what
// their sums do to bits is tested elsewhere, that they never part ways is tested here.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "engine/lead.h"
#include "engine/moved_pages.h"
#include "engine/stall_watch.h"
#include "sim/model.h"
#include "wire/plan.h"

namespace exo::sim {

// Positions of a KV page: small, so that sequences have several.
inline constexpr uint32_t kSimPage = 8;
// Smaller than the plan's, so that prompts take several chunks in flight at once.
inline constexpr uint32_t kSimChunk = 8;

// A frame of a data link.
struct DataFrame {
  wire::Step step;
  std::vector<uint64_t> hidden;
  bool to_lead = false;  // the tail of the step's journey: outputs only
  uint32_t from = 0;     // the stage that says so
};

constexpr uint32_t kGuessedAtOnce = 3;  // in one verify window; others follow ahead of its answer

struct RunnerOutputs {
  std::function<void(const NodeId& to, DataFrame frame)> send;
  std::function<void(Event)> tell;               // the node's core
  std::function<void(bool same_plan)> accepted;  // a step was taken for computing
  std::function<void(const std::string& what)> broken;
  // Whether a page of this node's prefix store has been lost, or is not taken.
  std::function<bool()> loses_page;
  std::function<void(uint64_t restored_rows, uint64_t moved_rows, uint64_t lost_pages)> on_pages;
  // Entries of one layer of what the former plan has left, at this node or another one. Given away.
  std::function<std::vector<uint64_t>(const PlanId& plan, const MovedPageName& name,
                                      uint32_t layer)>
      take_moved;
  // What a drafter would guess behind `generated` tokens of an answer.
  std::function<std::vector<TokenId>(const RequestId&, size_t generated)> guess;
  // Rows in flight that the other stages need not compute.
  std::function<void(const wire::StaleRows&)> stale;
};

// Bugs of the data plane that a test plants.
struct PlantedStageBugs {
  bool no_fence = false;          // steps of other plans and old steps are computed
  bool no_gap_check = false;      // a step that does not continue its sequence is computed
  bool commit_cancelled = false;  // a cancelled step counts as computed
  bool keep_lost = false;         // a page that is not there counts as restored
};

class Runner {
 public:
  Runner(wire::Plan plan, uint32_t stage, const PlanId& former, const PlantedStageBugs& bugs,
         const engine::StageTimers& timers, PageDisk& disk, RunnerOutputs outputs)
      : plan_(std::move(plan)),
        index_(stage),
        former_(former),
        no_fence_(bugs.no_fence),
        keep_lost_(bugs.keep_lost),
        disk_(disk),
        outputs_(std::move(outputs)),
        machine_({.plan = plan_.id,
                  .context = plan_.context,
                  .pages = Pages(plan_),
                  .window = Window(plan_),
                  .page = kSimPage,
                  .chunk = plan_.chunk,
                  .plant_no_fence = bugs.no_fence,
                  .plant_no_gap_check = bugs.no_gap_check,
                  .plant_commit_cancelled = bugs.commit_cancelled}),
        model_(plan_.stages[stage].layer_begin, plan_.stages[stage].layer_end),
        watch_(timers) {
    if (stage != 0) return;
    lead_ = std::make_unique<LeadMachine>(
        LeadOptions{.plan = plan_.id,
                    .stages = static_cast<uint32_t>(wire::GroupsOf(plan_).size()),
                    .context = plan_.context,
                    .pages = Pages(plan_),
                    .window = Window(plan_),
                    .page = kSimPage,
                    // Some know no other prefixes than those of the store.
                    .least_shared = plan_.id.bytes[3] % 3u == 0 ? 1000 : 1 + plan_.id.bytes[1] % 8u,
                    .chunk = kSimChunk,
                    .queue_limit = 4,
                    .plant_no_gap_check = bugs.no_gap_check,
                    .prefix_store = !HasShards(plan_),
                    .scope = ScopeOf({.model = plan_.model}),
                    .least_restored = 1 + plan_.id.bytes[2] % 8u,
                    .former = HasShards(plan_) ? PlanId{} : former});
    for (const auto& [key, text] : disk_.texts) {
      if (text.scope == lead_->options().scope) lead_->AddStored(key, text.parent, text.tokens);
    }
  }

  const wire::Plan& plan() const { return plan_; }
  uint32_t index() const { return index_; }
  LeadMachine* lead() { return lead_.get(); }

  // What a stage leaves of the requests in work when its plan moves.
  void Leave(const std::function<void(const MovedPageName& name, uint32_t layer,
                                      std::vector<uint64_t> entries)>& put) {
    if (HasShards(plan_)) return;
    for (const StageMachine::Left& left : machine_.Leave()) {
      for (uint32_t first = 0; first < left.length; first += kSimPage) {
        const uint32_t count = std::min(kSimPage, left.length - first);
        const StageWork::Page page{.sequence = left.sequence, .first = first, .count = count};
        for (const uint32_t layer : model_.layers())
          put({left.request, first / kSimPage}, layer, model_.Entries(page, layer));
      }
    }
  }

  void Submit(const wire::Submit& submit, Time now) {
    if (const auto accepted = lead_->Submit(submit, now); !accepted) {
      outputs_.tell(LeadFinished{{.request = submit.request,
                                  .reason = wire::FinishReason::kError,
                                  .code = accepted.error().code,
                                  .message = accepted.error().message,
                                  .plan = plan_.id}});
      return;
    }
    Pump(now);
  }
  void Cancel(const RequestId& request, Time now) {
    lead_->Cancel(request);
    cancelled_.insert(request);
    Pump(now);
  }
  void CancelRows(const NodeId& from, const RequestId& request) {
    if (from == plan_.stages[0].node) cancelled_.insert(request);
  }
  void DropRows(const NodeId& from, const wire::StaleRows& stale) {
    if (from == plan_.stages[0].node) stale_[stale.request] = stale.through_step;
  }
  void Pause(const RequestId& request, bool paused, Time now) {
    lead_->Pause(request, paused);
    Pump(now);
  }
  bool working() const { return lead_ && !failed_ && lead_->in_flight() > 0; }
  // About once a second. `progress`: work items of the plan's nodes, as heartbeats say.
  void Watch(uint64_t progress, Time now) {
    if (watch_.Tick(working(), lead_ ? progress + lead_->stats().steps : 0, now))
      FailInstance({ErrorCode::kDisconnected, "no stage has made progress"});
  }

  void OnFrame(DataFrame frame, Time now) {
    if (failed_ || frame.to_lead != (index_ == 0)) return;
    if (frame.to_lead) {
      if (frame.step.plan != plan_.id && !no_fence_) return;
      return OnReturned(frame, now);
    }
    Compute(std::move(frame));
  }

 private:
  // Between one context's worth, where requests are put back all the time, and plenty.
  static uint64_t Pages(const wire::Plan& plan) {
    return (plan.context + kSimPage - 1) / kSimPage + plan.id.bytes[0] % 20u;
  }
  // Half of the plans are of models with windows, which move on before answers do.
  static engine::LedgerWindow Window(const wire::Plan& plan) {
    if (plan.id.bytes[2] % 2 == 0) return {};
    engine::LedgerWindow window{.positions = 1 + plan.id.bytes[3] % 30u};
    window.most =
        (window.positions + std::max(plan.chunk, kSimChunk) + kSimPage - 1) / kSimPage + 1;
    window.pages = window.most + plan.id.bytes[4] % 20u;
    for (const wire::StagePlan& stage : plan.stages) {
      const uint64_t layers = stage.layer_end - stage.layer_begin;
      window.stages.push_back({.all = layers - layers / 2, .windowed = layers / 2});
    }
    return window;
  }
  void FailInstance(const Error& error) {
    failed_ = true;
    outputs_.tell(StageFailed{plan_.id, error, {}});
  }

  void Pump(Time now) {
    while (!failed_) {
      const auto step = lead_->NextStep(now);
      if (!step) return;
      DataFrame frame{.step = ToWire(plan_.id, *step)};
      for (const LeadItem& item : step->items) {
        for (const TokenId token : item.tokens) frame.hidden.push_back(Embed(token));
      }
      for (size_t i = 1; i < group().end; ++i) outputs_.send(plan_.stages[i].node, frame);
      Compute(std::move(frame));
    }
  }

  wire::StageGroup group() const { return wire::GroupOf(plan_, index_); }

  // The rows of one of the last group: as those of all others.
  void OnReturned(const DataFrame& frame, Time now) {
    const size_t shards = wire::GroupOf(plan_, plan_.stages.size() - 1).size();
    if (shards == 1) return OnOutputs(frame, now);
    if (frame.step.step <= finished_step_) return;  // sent twice
    const auto cancelled = [](const wire::Step& step) {
      std::vector<RequestId> given_up;
      for (const wire::StepItem& item : step.items) {
        if (item.cancelled) given_up.push_back(item.request);
      }
      return given_up;
    };
    Returned& returned = returned_[frame.step.step];
    if (!returned.shards.empty() && (frame.hidden != returned.rows.hidden ||
                                     cancelled(frame.step) != cancelled(returned.rows.step)))
      return outputs_.broken("two shards computed different rows");
    returned.rows = frame;
    returned.shards.insert(frame.from);
    if (returned.shards.size() < shards) return;
    // Each shard returns steps in order: what is missing of earlier ones was lost.
    finished_step_ = frame.step.step;
    returned_.erase(returned_.begin(), returned_.upper_bound(finished_step_));
    OnOutputs(frame, now);
  }

  void Compute(DataFrame frame) {
    auto work = machine_.BeginStep(frame.step);
    if (!work) {
      if (work.error().code != ErrorCode::kNotFound) FailInstance(work.error());
      return;
    }
    if (work->duplicate) return;
    outputs_.accepted(frame.step.plan == plan_.id);
    const auto before = Lengths(frame.step);
    ComputeRows(*work, frame);
    if (model_.read_undefined()) return outputs_.broken("a step was computed on undefined KV");
    const auto after = Lengths(frame.step);
    for (size_t i = 0; i < frame.step.items.size(); ++i) {
      if (frame.step.items[i].cancelled && after[i] > before[i])
        return outputs_.broken("rows that nobody computed were committed");
    }
    if (group().end < plan_.stages.size()) {
      for (const size_t next : wire::RowsTo(plan_, index_))
        outputs_.send(plan_.stages[next].node, frame);
      return;
    }
    std::vector<uint64_t> rows;
    for (const uint32_t output : work->output_rows) {
      if (!frame.hidden.empty()) rows.push_back(frame.hidden[output]);
    }
    frame.hidden = std::move(rows);
    frame.to_lead = true;
    frame.from = index_;
    outputs_.send(plan_.stages[0].node, std::move(frame));
  }

  std::vector<uint32_t> Lengths(const wire::Step& step) const {
    std::vector<uint32_t> lengths;
    for (const wire::StepItem& item : step.items)
      lengths.push_back(machine_.Length(item.request).value_or(0));
    return lengths;
  }

  void RestorePages(const StageWork& work, wire::Step& step) {
    for (const uint32_t index : work.lost) step.restore[index].lost = true;
    for (const StageWork::Page& page : work.restore) {
      wire::StepPage& asked = step.restore[page.index];
      if (machine_.IsDirty(asked.request)) {
        asked.lost = true;
        continue;
      }
      const bool found =
          !outputs_.loses_page() &&
          (asked.moved ? LoadMoved(page, asked)
                       : model_.Load(page, StoredKeyOf(asked.key, asked.bare), disk_));
      if (found || keep_lost_) continue;
      asked.lost = true;
      machine_.LosePage(asked);
    }
  }
  bool LoadMoved(const StageWork::Page& page, const wire::StepPage& asked) {
    std::vector<std::vector<uint64_t>> layers;
    for (const uint32_t layer : model_.layers()) {
      layers.push_back(
          outputs_.take_moved(former_, {asked.request, asked.first / kSimPage}, layer));
      if (layers.back().size() < page.count) return false;
    }
    for (size_t i = 0; i < layers.size(); ++i) model_.Put(page, model_.layers()[i], layers[i]);
    return true;
  }
  void StorePages(const StageWork& work, wire::Step& step) {
    for (const uint32_t index : work.not_taken) step.store[index].lost = true;
    for (const StageWork::Page& page : work.store) {
      wire::StepPage& asked = step.store[page.index];
      asked.lost = outputs_.loses_page();
      if (!asked.lost) model_.Save(page, StoredKeyOf(asked.key, asked.bare), disk_);
    }
  }
  // What the stages say of a step's pages. False: the instance has failed.
  bool NotePages(const wire::Step& step, Time now) {
    const LeadStats before = lead_->stats();
    const auto news = lead_->OnPages(step, now);
    if (!news) {
      FailInstance(news.error());
      return false;
    }
    for (const LeadPage& page : news->stored)
      disk_.texts[StoredKeyOf(page.page.key, page.page.bare)] = {lead_->options().scope,
                                                                 page.parent, page.tokens};
    for (const Hash256& key : news->lost) disk_.texts.erase(key);
    outputs_.on_pages(lead_->stats().restored_rows - before.restored_rows,
                      lead_->stats().moved_rows - before.moved_rows,
                      lead_->stats().lost_pages - before.lost_pages);
    return true;
  }

  // The stage's layers over a step's rows, or a compute that everybody has lost interest in.
  void ComputeRows(const StageWork& work, DataFrame& frame) {
    for (const uint64_t sequence : work.close) model_.Close(sequence);
    for (const StageWork::Fork& fork : work.fork) model_.Fork(fork.from, fork.to, fork.length);
    for (const auto& open : work.open) model_.Open(open.sequence);
    RestorePages(work, frame.step);
    for (const RequestId& request : frame.step.close) cancelled_.erase(request);
    // Shards compute a step to its end.
    bool wanted = work.segments.empty() || plan_.stages[index_].shard.has_value();
    for (const wire::StepItem& item : frame.step.items) {
      const auto stale = stale_.find(item.request);
      wanted |= !cancelled_.contains(item.request) &&
                (stale == stale_.end() || stale->second < frame.step.step);
    }
    for (const uint32_t item : work.cancelled) frame.step.items[item].cancelled = true;
    if (!wanted) {
      for (const StageWork::Segment& segment : work.segments) model_.Interrupt(segment);
      machine_.CancelStep();
      for (wire::StepItem& item : frame.step.items) item.cancelled = true;
      for (wire::StepPage& page : frame.step.store) page.lost = true;
      frame.hidden.clear();
      return;
    }
    frame.hidden.resize(work.rows_in);
    std::vector<uint64_t> rows;
    for (const StageWork::Segment& segment : work.segments) {
      const auto come = std::span(frame.hidden).subspan(segment.row, segment.count);
      model_.Forward(segment, come);
      rows.insert(rows.end(), come.begin(), come.end());
    }
    frame.hidden = std::move(rows);
    machine_.CommitStep();
    StorePages(work, frame.step);
  }

  // The tokens of one item's rows: drafts count as long as they are what is sampled.
  ItemOutput SampleItem(const LeadItem& item, std::span<const uint64_t> rows) const {
    const auto view = lead_->Find(item.request);
    const uint64_t seed = view ? view->sampler->seed : 0;
    const size_t first = item.tokens.size() - rows.size();
    ItemOutput output{item.request, {}};
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t row = first + i;
      output.tokens.push_back(Sample(rows[i], seed, item.first + row + 1));
      if (row + 1 < item.tokens.size() && output.tokens.back() != item.tokens[row + 1]) break;
    }
    return output;
  }

  void OnOutputs(const DataFrame& frame, Time now) {
    if (!NotePages(frame.step, now)) return;
    std::vector<ItemOutput> outputs;
    std::vector<RequestId> given_up;
    for (const wire::StepItem& item : frame.step.items) {
      if (item.cancelled) given_up.push_back(item.request);
    }
    if (const LeadStep* step = lead_->InFlight(frame.step.step)) {
      size_t next = 0;
      for (const LeadItem& item : step->items) {
        const size_t rows = OutputRows(item);
        const bool gone = std::ranges::find(given_up, item.request) != given_up.end();
        if (rows == 0 || gone || next + rows > frame.hidden.size()) continue;
        outputs.push_back(SampleItem(item, std::span(frame.hidden).subspan(next, rows)));
        next += rows;
      }
    }
    const auto emissions =
        lead_->OnStepDone(frame.step.step, outputs, frame.step.times, now, given_up);
    if (!emissions) return FailInstance(emissions.error());
    for (const wire::StaleRows& stale : lead_->TakeStale()) outputs_.stale(stale);
    for (const Emission& emission : *emissions) {
      if (!emission.tokens.empty() || !emission.finished) {
        outputs_.tell(LeadEmitted{.request = emission.request,
                                  .tokens = emission.tokens,
                                  .computed = emission.computed,
                                  .plan = plan_.id});
      }
      if (emission.finished) {
        wire::Finished finished = *emission.finished;
        finished.plan = plan_.id;
        outputs_.tell(LeadFinished{std::move(finished)});
      }
      if (const auto view = lead_->Find(emission.request)) {
        lead_->Draft(emission.request,
                     outputs_.guess(emission.request, view->tokens.size() - view->prompt_tokens),
                     kGuessedAtOnce);
      }
    }
    Pump(now);
  }

  wire::Plan plan_;
  uint32_t index_;
  PlanId former_;
  bool no_fence_;
  bool keep_lost_;
  PageDisk& disk_;  // of the node
  bool failed_ = false;
  RunnerOutputs outputs_;
  // At the lead: what shards of the last group have said of steps, and the latest one of which all
  // have.
  struct Returned {
    std::set<uint32_t> shards;
    DataFrame rows;
  };
  std::map<uint64_t, Returned> returned_;
  uint64_t finished_step_ = 0;
  StageMachine machine_;
  FakeStage model_;
  std::map<RequestId, uint64_t> stale_;  // through which step
  std::set<RequestId> cancelled_;        // a real node remembers fewer (engine/cancellation_set.h)
  StallWatch watch_;
  std::unique_ptr<LeadMachine> lead_;
};

}  // namespace exo::sim
