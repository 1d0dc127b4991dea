#include "sim/world.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/timers.h"

namespace exo::sim {
namespace {

constexpr uint64_t kLayerBytes = 400;
constexpr auto kQuiet = std::chrono::seconds(60);
constexpr auto kAfterUnload = std::chrono::seconds(25);
constexpr uint64_t kStartMs = 1'700'000'000'000;  // some day

ModelShape FakeShape(Rng& rng, int number) {
  ModelShape shape{.name = fmt::format("model{}", number), .width = 1, .trained_context = 64};
  for (uint8_t& byte : shape.id.bytes) byte = static_cast<uint8_t>(rng.Next());
  shape.layer_bytes.assign(kLayers, kLayerBytes);
  shape.cuts = {.kv_heads = 3, .heads = 3, .ffn_width = 5 * 128, .ffn_step = 128};
  shape.layer_parts.assign(
      kLayers, {.heads = kLayerBytes / 4, .kv = kLayerBytes / 4, .ffn = kLayerBytes / 2});
  shape.embedding_bytes = shape.output_bytes = 200;
  shape.kv_bytes_per_position = {1, 2};  // a page: 256 bytes of each layer and sequence
  // Of the first model each further row of a step is work of its own: replicas gain for many.
  shape.ops_per_token_layer = number == 0 ? 10'000'000 : 1000;
  shape.scratch_bytes = 40;
  return shape;
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

World::World(const SimOptions& options) : options_(options), rng_(options.seed, 7) {
  timers_ = DrawTimers(rng_);
  stage_timers_ = DrawStageTimers(rng_);
  for (int i = 0; i < 2; ++i) models_.push_back(FakeShape(rng_, i));
  nodes_.resize(2 + rng_.Below(4));
  for (size_t i = 0; i < nodes_.size(); ++i) {
    Node& node = nodes_[i];
    for (uint8_t& byte : node.id.bytes) byte = static_cast<uint8_t>(rng_.Next());
    node.index = i;
    by_id_[node.id] = i;
    // From too small for anything to large enough for both models with four sequences.
    constexpr uint64_t kBudgets[] = {1200, 2800, 4400, 6000, 16000};
    node.budget = kBudgets[rng_.Below(std::size(kBudgets))];
    node.speed = 1 + static_cast<double>(rng_.Below(8));
    // Seconds off as a rule, years off for a device that forgot the date.
    const uint64_t most_ms = Chance(0.2) ? 1'000'000'000'000 : 4000;
    node.clock_skew_ms =
        static_cast<int64_t>(rng_.Below(most_ms)) - static_cast<int64_t>(most_ms / 2);
    for (const ModelShape& model : models_) {
      if (i == 0 || Chance(0.4)) node.models.push_back(model);
    }
  }
}

// ---- event queue ----

void World::After(Time delay, std::function<void()> run) {
  queue_.push({now_ + delay, order_++, std::move(run)});
}

void World::RunUntil(Time end) {
  while (!queue_.empty() && queue_.top().at <= end && result_.failure.empty()) {
    now_ = queue_.top().at;
    const auto run = std::move(const_cast<Item&>(queue_.top()).run);
    queue_.pop();
    run();
  }
  now_ = end;
}

Time World::Jitter(int64_t min_us, int64_t max_us) {
  return std::chrono::microseconds(
      min_us + static_cast<int64_t>(rng_.Below(static_cast<uint64_t>(max_us - min_us))));
}

void World::Fail(const std::string& what) {
  if (!result_.failure.empty()) return;
  result_.failure = fmt::format("seed {}, at {:.3f} s: {}", options_.seed,
                                static_cast<double>(now_.count()) * 1e-9, what);
}

// ---- nodes ----

void World::Start(Node& node) {
  node.running = true;
  node.paused = false;
  ++node.generation;
  const uint64_t incarnation = next_incarnation_++;
  node.core = std::make_unique<Core>(CoreOptions{.self = node.id,
                                                 .name = fmt::format("node{}", node.index),
                                                 .incarnation = incarnation,
                                                 .boot_nonce = incarnation * 77,
                                                 .seed = rng_.Next(),
                                                 .timers = timers_,
                                                 .bugs = options_.bugs});
  Tell(node, Tick{WallMs(node)});
  Tell(node, RestoreDesired{node.disk});
  TellRecord(node);
  Tell(node, LocalModels{node.models});
}

void World::TellRecord(Node& node) {
  wire::NodeRecord record{.devices = {{.memory_total = node.budget,
                                       .memory_budget = node.budget,
                                       .decode_gbps = node.speed,
                                       .prefill_gops = node.speed * 10}}};
  record.health.withheld = node.withheld;
  record.links = node.links;
  record.addresses = {{fmt::format("10.0.0.{}", node.index), 5000}};
  for (const ModelShape& model : node.models)
    record.models.push_back({.id = model.id, .name = model.name});
  Tell(node, LocalRecord{record});
}

void World::Crash(Node& node) {
  if (!node.running) return;
  ++result_.crashes;
  node.running = false;
  node.core.reset();
  node.runners.clear();
  node.allocated.clear();
  node.moved.clear();
  node.former.clear();
  node.deferred.clear();
  node.tickets = 0;
  for (auto& [id, request] : requests_) {
    if (request.entry == node.index && request.state == Request::kOpen)
      request.state = Request::kOrphan;
  }
  for (Node& other : nodes_) {
    if (&other == &node) continue;
    Pair& pair = PairOf(node.index, other.index);
    if (!pair.up) continue;
    // The other side sees a reset at once, unless it is cut off.
    Break(node.index, other.index, "connection reset");
    // Data links of the lost process, too.
    for (auto& [plan, runner] : other.runners) {
      if (!pair.cut_since && StageOf(runner->plan(), node.id) >= 0 && Chance(0.7)) {
        TellLater(other, Jitter(200, 3000),
                  StageFailed{plan, {ErrorCode::kDisconnected, "link reset"}, node.id});
      }
    }
  }
}

void World::Pause(Node& node) {
  if (!node.running || node.paused) return;
  ++result_.pauses;
  node.paused = true;
}

void World::Resume(Node& node) {
  if (!node.paused) return;
  node.paused = false;
  std::deque<Event> deferred = std::exchange(node.deferred, {});
  for (Event& event : deferred) Tell(node, std::move(event));
}

void World::TickAll() {
  for (Node& node : nodes_) {
    if (!node.running || node.paused) continue;
    Tell(node, Tick{WallMs(node)});
    for (auto& [plan, runner] : node.runners) {
      if (runner->lead() != nullptr) Tell(node, LocalLoad{plan, runner->lead()->queued()});
    }
  }
  if (now_ - watched_ >= std::chrono::seconds(1)) Watch();
  Network();
  After(tick_, [this] { TickAll(); });
}

// Once a second: heartbeats learn of the work that was done, leads look whether there is any.
void World::Watch() {
  watched_ = now_;
  for (Node& node : nodes_) {
    if (!node.running || node.paused) continue;
    if (node.busy_until > now_ && (!slow_ || slow_->kind != SlowStage::kHung)) ++node.work_items;
    Tell(node, LocalProgress{node.work_items});
    if (!node.running || node.runners.empty()) continue;
    const std::vector<NodeStatus> statuses = node.core->Nodes();
    for (auto& [plan, runner] : node.runners) {
      uint64_t progress = node.work_items;
      for (const NodeStatus& status : statuses) {
        if (StageOf(runner->plan(), status.record.id) >= 0) progress += status.progress;
      }
      runner->Watch(progress, now_);
    }
  }
}

// Often right, often wrong somewhere, mostly nothing.
std::vector<TokenId> World::Guess(const RequestId& request, size_t generated) {
  const auto at = requests_.find(request);
  if (at == requests_.end() || !Chance(0.4)) return {};
  const std::vector<TokenId>& expected = at->second.expected;
  std::vector<TokenId> guess;
  for (size_t i = generated; i < expected.size() && guess.size() < 8; ++i)
    guess.push_back(expected[i]);
  if (!guess.empty() && Chance(0.6)) ++guess[rng_.Below(guess.size())];
  return guess;
}

void World::Tell(Node& node, Event event) {
  if (!node.running || !result_.failure.empty()) return;
  if (node.paused) {
    node.deferred.push_back(std::move(event));
    return;
  }
  // As node/node_effects.cc does it.
  if (const auto* received = std::get_if<Received>(&event)) {
    if (const auto* cancel = std::get_if<wire::CancelRequest>(&received->message)) {
      const auto runner = node.runners.find(cancel->plan);
      if (runner != node.runners.end()) runner->second->CancelRows(received->peer, cancel->request);
    }
    if (const auto* stale = std::get_if<wire::StaleRows>(&received->message)) {
      const auto runner = node.runners.find(stale->plan);
      if (runner != node.runners.end()) runner->second->DropRows(received->peer, *stale);
    }
  }
  ++result_.steps;
  Trace(static_cast<uint64_t>(now_.count()) ^ node.index << 56 ^ event.index() << 48);
  const std::vector<Effect> effects = node.core->Step(event, now_);
  for (const Effect& effect : effects) Apply(node, effect);
  CheckMemory(node);
}

void World::Ask(Node& node, Event event) {
  ++node.tickets;
  Tell(node, std::move(event));
}

uint64_t World::WallMs(const Node& node) const {
  return static_cast<uint64_t>(static_cast<int64_t>(kStartMs) + node.clock_skew_ms +
                               now_ / std::chrono::milliseconds(1));
}

void World::TellLater(Node& node, Time delay, Event event) {
  After(delay, [this, &node, generation = node.generation, event = std::move(event)] {
    if (node.generation == generation) Tell(node, event);
  });
}

void World::StartLoading(Node& node, const StartLoad& load) {
  const uint64_t bytes = load.plan.stages[load.stage].bytes;
  node.allocated[load.plan.id] += bytes;
  node.former[load.plan.id] = load.former;
  Time delay = Jitter(20'000, 800'000);
  Result<void> result;
  if (!calm_ && Chance(0.03)) result = exo::Fail(ErrorCode::kIo, "the disk failed");
  TellLater(node, delay / 2, LoadProgressed{load.plan.id, bytes / 2, bytes});
  TellLater(node, delay, LoadFinished{load.plan.id, result, 100});
}

void World::StartRunner(Node& node, const StartServing& serving) {
  if (serving.stage == 0) {
    ++result_.placed;
    result_.hybrids += IsHybrid(serving.plan);
  }
  Node* const at = &node;
  RunnerOutputs outputs{
      .send = [this, at](const NodeId& to,
                         DataFrame frame) { SendData(*at, to, std::move(frame)); },
      .tell = [this, at](
                  Event event) { TellLater(*at, std::chrono::microseconds(20), std::move(event)); },
      .accepted =
          [this, at](bool same_plan) {
            ++at->work_items;
            if (!same_plan && !options_.stage_bugs.no_fence)
              Fail("a step of another plan was computed");
          },
      .broken = [this](const std::string& what) { Fail(what); },
      .loses_page = [this] { return Chance(0.2); },
      .on_pages =
          [this](uint64_t restored, uint64_t moved, uint64_t lost) {
            result_.restored += restored;
            result_.moved_rows += moved;
            result_.lost_pages += lost;
          },
      .take_moved = [this, at, former = node.former[serving.plan.id]](
                        const PlanId&, const engine::MovedPageName& name,
                        uint32_t layer) { return TakeMoved(*at, former, name, layer); },
      .guess = [this](const RequestId& request,
                      size_t generated) { return Guess(request, generated); },
      .stale =
          [this, at](const wire::StaleRows& stale) {
            ++result_.refuted;
            const auto runner = at->runners.find(stale.plan);
            if (runner == at->runners.end()) return;
            for (const wire::StagePlan& stage : runner->second->plan().stages) {
              if (stage.node != at->id) SendMessage(*at, stage.node, stale);
            }
          }};
  node.runners[serving.plan.id] =
      std::make_unique<Runner>(serving.plan, serving.stage, node.former[serving.plan.id].plan,
                               options_.stage_bugs, stage_timers_, node.pages, std::move(outputs));
}

// From the node that computed the layer, if it can be reached.
std::vector<uint64_t> World::TakeMoved(Node& node, const wire::FormerPlan& former,
                                       const engine::MovedPageName& name, uint32_t layer) {
  for (const wire::FormerStage& stage : former.stages) {
    if (layer < stage.layer_begin || layer >= stage.layer_end) continue;
    Node& from = ById(stage.node);
    const bool reached =
        &from == &node || (from.running && !from.paused && PairOf(from.index, node.index).up);
    if (!reached) return {};
    const auto found = from.moved.extract({former.plan, name.request, name.index, layer});
    return found.empty() ? std::vector<uint64_t>{} : std::move(found.mapped());
  }
  return {};
}

void World::StopRunner(Node& node, const PlanId& plan, bool moves) {
  const auto runner = node.runners.find(plan);
  if (moves && runner != node.runners.end()) {
    runner->second->Leave([&](const engine::MovedPageName& name, uint32_t layer, auto entries) {
      node.moved[{plan, name.request, name.index, layer}] = std::move(entries);
    });
  }
  node.runners.erase(plan);
  node.former.erase(plan);
  After(Jitter(1000, 200'000), [this, &node, generation = node.generation, plan] {
    if (node.generation != generation) return;
    node.allocated.erase(plan);
    Tell(node, StageStopped{plan});
  });
}

void World::Apply(Node& node, const Effect& effect) {
  if (!result_.failure.empty()) return;
  Trace(effect.index());
  std::visit(Overloaded{
                 [&](const Send& e) { SendMessage(node, e.peer, e.message); },
                 [&](const Disconnect& e) { Break(node.index, by_id_.at(e.peer), e.reason); },
                 [&](const StartLoad& e) { StartLoading(node, e); },
                 [&](const StartServing& e) { StartRunner(node, e); },
                 [&](const StopInstance& e) {
                   result_.moved += e.cause.reason == wire::Reason::kMoved;
                   StopRunner(node, e.plan, e.cause.reason == wire::Reason::kMoved);
                 },
                 [&](const LeadSubmit& e) {
                   const auto at = node.runners.find(e.submit.plan);
                   if (at == node.runners.end())
                     return Fail("LeadSubmit for an instance that does not serve");
                   at->second->Submit(e.submit, now_);
                 },
                 [&](const LeadCancel& e) {
                   const auto at = node.runners.find(e.plan);
                   if (at == node.runners.end()) return;
                   for (const wire::StagePlan& stage : at->second->plan().stages) {
                     if (stage.node != node.id)
                       SendMessage(node, stage.node, wire::CancelRequest{e.request, e.plan});
                   }
                   at->second->Cancel(e.request, now_);
                 },
                 [&](const LeadPause& e) {
                   const auto at = node.runners.find(e.plan);
                   if (at != node.runners.end()) at->second->Pause(e.request, e.paused, now_);
                 },
                 [&](const EnsureReply&) {
                   if (node.tickets == 0) return Fail("an EnsureReply too many");
                   --node.tickets;
                 },
                 [&](const UnloadReply&) {
                   if (node.tickets == 0) return Fail("an UnloadReply too many");
                   --node.tickets;
                 },
                 [&](const PlanMade&) {
                   if (node.tickets == 0) return Fail("a PlanMade too many");
                   --node.tickets;
                 },
                 [&](const SaveDesired& e) { node.disk = e.records; },
                 [&](const RequestTokens& e) { OnTokens(node, e); },
                 [&](const RequestFinished& e) { OnFinished(node, e.finished); },
                 [&](const auto&) {},
             },
             effect);
}

SimResult World::Run() {
  for (Node& node : nodes_) {
    After(Jitter(0, 500'000), [this, &node] { Start(node); });
  }
  TickAll();
  After(std::chrono::seconds(1), [this] { Chaos(); });
  RunUntil(options_.chaos);
  Heal();
  RunUntil(now_ + kQuiet);
  if (result_.failure.empty()) CheckQuiet();
  UnloadAll();
  RunUntil(now_ + kAfterUnload);
  if (result_.failure.empty()) CheckUnloaded();
  return result_;
}

// Three nodes at most, each of which could hold the one model.
void World::StartCalm(wire::Split split, wire::Use use) {
  calm_ = true;
  nodes_.resize(std::min<size_t>(nodes_.size(), 3));
  models_.resize(1);
  for (Node& node : nodes_) {
    node.budget = 16000;
    Start(node);
  }
  TickAll();
  RunUntil(std::chrono::seconds(3));
  ++nodes_[0].tickets;
  Tell(nodes_[0], EnsureModel{.ticket = 1, .model = models_[0].id, .split = split, .use = use});
  RunUntil(std::chrono::seconds(10));
}

// A request now and then, a few at a time, while a device after the other changes.
SimResult World::RunMoves() {
  timers_.drift = std::chrono::seconds(2);
  timers_.move_again = std::chrono::seconds(5);
  constexpr wire::Split kSplits[] = {wire::Split::kAuto, wire::Split::kLayer, wire::Split::kTensor,
                                     wire::Split::kHybrid};
  StartCalm(kSplits[options_.seed % std::size(kSplits)]);
  slow_ = SlowStage{.kind = SlowStage::kSlow, .step = std::chrono::milliseconds(300)};
  constexpr int64_t kMostOpen = 3;
  for (int second = 0; second < 120 && result_.failure.empty(); ++second) {
    const auto open = std::ranges::count_if(
        requests_, [](const auto& one) { return one.second.state == Request::kOpen; });
    if (open < kMostOpen) SubmitRequest(nodes_[rng_.Below(nodes_.size())]);
    if (second % 6 == 0) ChangeDevice(nodes_[rng_.Below(nodes_.size())]);
    RunUntil(now_ + std::chrono::seconds(1));
  }
  RunUntil(now_ + kQuiet);
  if (result_.failure.empty()) CheckQuiet();
  return result_;
}

// Four requests at a time at the first node, while another one is lost now and then.
SimResult World::RunLosses(wire::Split split, wire::Use use) {
  StartCalm(split, use);
  constexpr int64_t kMostOpen = 4;
  for (int second = 0; second < 100 && result_.failure.empty(); ++second) {
    auto open = std::ranges::count_if(
        requests_, [](const auto& one) { return one.second.state == Request::kOpen; });
    for (; open < kMostOpen; ++open) SubmitRequest(nodes_[0]);
    if (second % 20 == 10 && second < 80) {
      Node& lost = nodes_[1 + rng_.Below(nodes_.size() - 1)];
      Crash(lost);
      After(Jitter(500'000, 6'000'000), [this, &lost] { Start(lost); });
    }
    RunUntil(now_ + std::chrono::seconds(1));
  }
  RunUntil(now_ + kQuiet);
  if (result_.failure.empty()) CheckQuiet();
  return result_;
}

// One model over all nodes, one request.
SlowResult World::RunSlowStage(const SlowStage& slow) {
  StartCalm(wire::Split::kLayer);
  SlowResult result;
  for (const InstanceStatus& instance : nodes_[0].core->Instances())
    result.stages = instance.summary.plan.stages.size();
  slow_ = slow;
  const Time start = now_;
  SubmitRequest(nodes_[0]);
  if (slow.kind == SlowStage::kFrozen) {
    RunUntil(now_ + std::chrono::milliseconds(500));
    Pause(nodes_[1]);
  }
  while (result_.completed + result_.failed == 0 && result_.failure.empty() &&
         now_ < start + std::chrono::hours(2)) {
    RunUntil(now_ + std::chrono::milliseconds(100));
  }
  result.completed = result_.completed == 1;
  result.failed = result_.failed == 1;
  result.failure = result_.failure;
  result.error = result_.last_error;
  result.took = now_ - start;
  return result;
}

SlowResult SimulateSlowStage(uint64_t seed, const SlowStage& slow) {
  return World({.seed = seed}).RunSlowStage(slow);
}

SimResult SimulateMoves(uint64_t seed) {
  return World({.seed = seed}).RunMoves();
}

SimResult SimulateReplicas(uint64_t seed) {
  return World({.seed = seed}).RunLosses(wire::Split::kAuto, wire::Use::kThroughput);
}

SimResult SimulateHybrids(uint64_t seed) {
  return World({.seed = seed}).RunLosses(wire::Split::kHybrid, wire::Use::kLatency);
}

SimResult Simulate(const SimOptions& options) {
  return World(options).Run();
}

}  // namespace exo::sim
