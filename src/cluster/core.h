// The cluster as one node sees it: members, placed models, requests. Sans-I/O: Step(event, now)
// changes the state and returns what is to be done; no thread, clock, socket or random device
// (tools/check_symbols).
//
// There is no master. Each fact has one writer: a node its record, an owner its instance, an entry
// node its request; memory is promised by the node that has it, against a lease
// (src/cluster/README.md).
//
// Thread: one caller at a time (the event loop). Time: monotonic, any start; a gap between ticks
// above Timers::wake means that this node was suspended.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "cluster/describe.h"
#include "cluster/effect.h"
#include "cluster/event.h"
#include "cluster/planner.h"
#include "cluster/planted_bugs.h"
#include "cluster/timers.h"
#include "wire/messages.h"

namespace exo::cluster {

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

const char* PeerStateName(PeerState state);
const char* InstanceStateName(wire::InstanceState state);

struct NodeStatus {
  bool self = false;
  wire::NodeRecord record;  // id and name are always set
  PeerState state = PeerState::kUnknown;
  std::string detail;  // why not alive, for display
  // Of a refused one: why, and what it speaks (newest 0: not told).
  wire::RefusalCode refusal = wire::RefusalCode::kNotMember;
  wire::Protocols protocols;
  double rtt_ms = 0;  // 0: not measured yet
  Time last_heard{};
  uint64_t progress = 0;  // work items by its heartbeats
  // How far its wall clock is ahead of this node's, at the least: what a message's way may take is
  // taken off. Unset: not told.
  std::optional<std::chrono::milliseconds> clock_ahead;
};
struct InstanceStatus {
  wire::InstanceSummary summary;
  bool owned = false;  // by this node
};
// What this node has promised.
enum class ReservationState : uint8_t { kReserved, kLoading, kLoaded, kReady, kStopping };
struct ReservationStatus {
  wire::Plan plan;
  NodeId owner;  // who coordinates it now: Plan::owner, or the lead that adopted it
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
  std::vector<wire::DesiredModel> DesiredRecords() const;
  std::vector<ReservationStatus> ReservationsHeld() const;
  // The nodes a plan made now may use: for a dry run with MakePlan.
  std::vector<PlanNode> PlannerNodes() const;
  // The stage of this plan on this node, when it is reserved or more: may a data link of it be
  // accepted?
  const wire::Plan* PlanOfReservation(const PlanId& plan) const;
  uint64_t reserved_bytes() const;
  // Requests of this entry node, and of other entries at this lead.
  size_t entry_requests() const;
  size_t lead_requests() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace exo::cluster
