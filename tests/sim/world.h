// The inside of the simulator: the world and its event queue (sim.h is the outside).
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <tuple>

#include "sim/simulation.h"

namespace exo::sim {

struct Node {
  NodeId id;
  size_t index = 0;
  bool running = false;
  bool paused = false;
  uint64_t generation = 0;  // of the process: what belongs to an older one is dropped
  std::unique_ptr<Core> core;
  std::map<PlanId, std::unique_ptr<Runner>> runners;
  std::map<PlanId, uint64_t> allocated;  // what loads really took
  std::deque<Event> deferred;            // arrived while paused
  uint64_t budget = 0;
  double speed = 1;
  uint32_t withheld = 0;
  std::vector<wire::LinkRecord> links;  // what it says of its ways to others
  std::vector<ModelShape> models;
  uint64_t tickets = 0;  // EnsureModel, UnloadModel and PlanModel without a reply
  // What survives a crash, and how far this device's clock is off.
  std::vector<wire::DesiredModel> disk;
  PageDisk pages;
  // What plans that moved have left, and the former plans of those that load here.
  std::map<std::tuple<PlanId, RequestId, uint32_t, uint32_t>, std::vector<uint64_t>> moved;
  std::map<PlanId, wire::FormerPlan> former;
  int64_t clock_skew_ms = 0;
  uint64_t work_items = 0;
  Time busy_until{};  // its compute
};

struct Pair {
  bool up = false;
  uint64_t epoch = 0;
  Time not_before{};              // next attempt to connect
  std::optional<Time> cut_since;  // partitioned
  Time last_delivery[2] = {};     // sessions keep order
};

struct Request {
  size_t entry = 0;
  uint64_t generation = 0;
  std::vector<TokenId> expected;
  size_t emitted = 0;
  enum { kOpen, kDone, kCancelled, kOrphan } state = kOpen;
};

class World {
 public:
  explicit World(const SimOptions& options);
  SimResult Run();
  SlowResult RunSlowStage(const SlowStage& slow);
  SimResult RunMoves();
  SimResult RunLosses(wire::Split split, wire::Use use);

 private:
  // ---- event queue ----
  struct Item {
    Time at{};
    uint64_t order = 0;
    std::function<void()> run;
    friend bool operator>(const Item& a, const Item& b) {
      return std::pair(a.at, a.order) > std::pair(b.at, b.order);
    }
  };
  void After(Time delay, std::function<void()> run);
  void RunUntil(Time end);
  Time Jitter(int64_t min_us, int64_t max_us);
  bool Chance(double probability) { return rng_.Uniform() < probability; }
  void Fail(const std::string& what);
  void Trace(uint64_t value) { result_.trace = Mix(result_.trace, value); }

  // ---- nodes ----
  void Start(Node& node);
  void TellRecord(Node& node);
  void StartCalm(wire::Split split, wire::Use use = {});
  void Crash(Node& node);
  void Pause(Node& node);
  void Resume(Node& node);
  void TickAll();
  void Tell(Node& node, Event event);  // now
  void Ask(Node& node, Event event);   // one that is answered once
  uint64_t WallMs(const Node& node) const;
  void TellLater(Node& node, Time delay, Event event);
  void Apply(Node& node, const Effect& effect);
  void StartLoading(Node& node, const StartLoad& load);
  void StartRunner(Node& node, const StartServing& serving);
  void StopRunner(Node& node, const PlanId& plan, bool moves);
  std::vector<uint64_t> TakeMoved(Node& node, const wire::FormerPlan& former,
                                  const engine::MovedPageName& name, uint32_t layer);
  void Watch();
  std::vector<TokenId> Guess(const RequestId& request, size_t generated);
  Node& ById(const NodeId& id) { return nodes_[by_id_.at(id)]; }

  // ---- network ----
  Pair& PairOf(size_t a, size_t b) { return pairs_[{std::min(a, b), std::max(a, b)}]; }
  void Connect(size_t a, size_t b);
  void Break(size_t a, size_t b, const std::string& reason);
  void SendMessage(Node& from, const NodeId& to, const wire::Message& message);
  void SendData(Node& from, const NodeId& to, DataFrame frame);
  void DeliverData(const NodeId& to, DataFrame frame);
  void DeliverHeld(const NodeId& to);
  void Network();  // connects what can be connected

  // ---- workload and faults ----
  void Chaos();
  void Work();
  void ChangeDevice(Node& node);
  void Fault();
  void Heal();
  void UnloadAll();
  void SubmitRequest(Node& node);

  // ---- invariants ----
  void OnTokens(Node& node, const RequestTokens& tokens);
  void OnFinished(Node& node, const wire::Finished& finished);
  void CheckMemory(const Node& node);
  void CheckQuiet();
  void CheckDesired();
  void CheckUnloaded();

  SimOptions options_;
  SimResult result_;
  Rng rng_;
  Timers timers_;
  engine::StageTimers stage_timers_;
  Time now_{};
  Time tick_ = kTickInterval;
  bool calm_ = false;  // no faults any more
  Time watched_{};
  std::optional<SlowStage> slow_;  // of nodes_[1]
  uint64_t order_ = 0;
  uint64_t next_ticket_ = 1;
  uint64_t next_incarnation_ = 1;
  std::priority_queue<Item, std::vector<Item>, std::greater<>> queue_;
  std::vector<Node> nodes_;
  std::map<NodeId, size_t> by_id_;
  std::map<std::pair<size_t, size_t>, Pair> pairs_;
  std::map<std::pair<size_t, size_t>, Time> last_data_;
  std::map<NodeId, std::deque<DataFrame>> held_;  // that came to a node and wait there
  std::vector<ModelShape> models_;
  std::vector<TokenId> last_text_;  // prompt and answer of the newest request
  std::map<RequestId, Request> requests_;
};

}  // namespace exo::sim
