// The cluster as one node sees it: members, placed models, requests. Sans-I/O: Step(event, now)
// changes the state and returns what is to be done; no thread, clock, socket or random device
// (tools/check_symbols).
//
// There is no master. Each fact has one writer: a node its record, an owner its instance, an entry
// node its request; memory is promised by the node that has it, against a lease
// (src/cluster/README.md).
//
// Thread: one caller at a time (the event loop). Time: monotonic, any start; a gap between ticks
// above Timers::wake means that this node slept.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "cluster/effect.h"
#include "cluster/event.h"
#include "cluster/planner.h"
#include "wire/messages.h"

namespace exo::cluster {

// research/reliability.md 2.4 has the measurements behind these.
struct Timers {
  Time heartbeat = std::chrono::seconds(1);
  Time suspect = std::chrono::seconds(3);
  Time dead = std::chrono::seconds(6);
  Time reconnect = std::chrono::seconds(2);        // a broken session that did not come back: dead
  Time forget = std::chrono::hours(24);            // a member that is gone
  Time forget_unmet = std::chrono::minutes(10);    // one that others told of and nobody answers for
  Time forget_stranger = std::chrono::minutes(1);  // a refused device that is no member
  Time lease = std::chrono::seconds(15);           // at the participant
  Time renew = std::chrono::seconds(5);            // by the owner; also the period of summaries
  Time wake = std::chrono::seconds(12);        // an owner that slept so long gives its instances up
  Time reserve = std::chrono::seconds(10);     // all grants must be in
  Time load_stall = std::chrono::seconds(60);  // a load without progress
  Time drain = std::chrono::seconds(30);       // a duplicate instance ends its requests
  Time backoff = std::chrono::seconds(1);      // before planning again; doubles up to max_backoff
  Time max_backoff = std::chrono::seconds(30);
  Time ensure = std::chrono::seconds(30);   // another node must have answered EnsureInstance
  Time waiting = std::chrono::seconds(10);  // a request whose model has no instance any more
};

// Bugs that a test plants to show that the simulator finds them. Never set outside tests.
struct PlantedBugs {
  bool no_plan_fence = false;    // entry and lead accept messages of any plan
  bool no_lease_expiry = false;  // participants keep memory of a vanished owner
  bool no_grant_check = false;   // participants grant more memory than they have
  bool no_token_index = false;   // resent tokens are taken for new ones
};

struct CoreOptions {
  NodeId self;
  std::string name;
  uint64_t incarnation = 0;  // larger at each start
  uint64_t boot_nonce = 0;
  uint64_t seed = 0;  // nonces of plans
  Timers timers;
  PlantedBugs bugs;
};

enum class PeerState : uint8_t { kUnknown, kConnecting, kAlive, kSuspect, kDead, kLeft, kRefused };
// Release::reason by which any member asks the owner to unload, and the owner tells the
// participants so. The detail of the summary that follows, too: nobody plans the model again.
inline constexpr const char* kUnloadReason = "the model was unloaded";

const char* PeerStateName(PeerState state);
const char* InstanceStateName(wire::InstanceState state);

struct NodeStatus {
  bool self = false;
  wire::NodeRecord record;  // id and name are always set
  PeerState state = PeerState::kUnknown;
  std::string detail;  // why not alive
  double rtt_ms = 0;   // 0: not measured yet
  Time last_heard{};
  uint64_t progress = 0;  // work items by its heartbeats
};
struct InstanceStatus {
  wire::InstanceSummary summary;
  bool owned = false;  // by this node: reason and prediction are known
  std::string reason;
  Prediction prediction;
};
// What this node has promised.
enum class ReservationState : uint8_t { kReserved, kLoading, kLoaded, kReady, kStopping };
struct ReservationStatus {
  wire::Plan plan;
  uint32_t stage = 0;
  ReservationState state = ReservationState::kReserved;
};

class Core {
 public:
  explicit Core(CoreOptions options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // `now` never goes back. Effects are in the order in which they must happen.
  std::vector<Effect> Step(Event event, Time now);

  // Self first, then by id. O(nodes).
  std::vector<NodeStatus> Nodes() const;
  std::vector<InstanceStatus> Instances() const;
  std::vector<ReservationStatus> ReservationsHeld() const;
  // The nodes a plan made now may use: for a dry run with MakePlan.
  std::vector<PlanNode> PlannerNodes() const;
  // The stage of this plan on this node, when it is reserved or more: may a data link of it be
  // accepted?
  const wire::Plan* PlanOfReservation(const PlanId& plan) const;
  bool IsAlive(const NodeId& peer) const;
  uint64_t reserved_bytes() const;
  // Requests of this entry node, and of other entries at this lead.
  size_t entry_requests() const;
  size_t lead_requests() const;
  // Messages dropped because they belong to another plan or request.
  uint64_t stale_messages() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace exo::cluster
