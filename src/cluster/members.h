// Who is there, in this node's opinion, and what each node says about itself.
//
//   UNKNOWN ─> CONNECTING ─ session ─> ALIVE ─ 3 s silent ─> SUSPECT ─ 6 s ─> DEAD
//   ALIVE ─ session broke ─> CONNECTING ─ 2 s, or connecting fails ─> DEAD
//   DEAD ─ new session ─> ALIVE
//   any ─ goodbye ─> LEFT      any ─ handshake refused ─> REFUSED
//   gone for Timers::forget ─> forgotten, sooner when the table is full
//
// Devices that were refused and never were members are strangers: kept apart, few and briefly, so
// that no number of them takes a member's place.
//
// Hearsay never revives and never kills: only a session with the node itself counts.
#pragma once

#include <array>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cluster/context.h"

namespace exo::cluster {

class Members {
 public:
  explicit Members(Context& context);

  // What the other parts must learn, in order.
  struct Notice {
    NodeId peer;
    bool up = false;  // false: lost (dead, left or restarted): nothing of it survives
    std::string reason;
  };
  std::vector<Notice> TakeNotices() { return std::exchange(notices_, {}); }

  void OnUp(const SessionUp& event);
  void OnDown(const SessionDown& event);
  void OnRefused(const PeerRefused& event);
  void OnForgotten(const PeerForgotten& event);
  void OnLeave(const Leave& event);
  // Any message of a peer. False: it has no session with us (a late delivery): drop the message.
  bool NoteActivity(const NodeId& peer);
  void OnHeartbeat(const NodeId& peer, const wire::Heartbeat& heartbeat);
  void OnRecord(const NodeId& peer, const wire::NodeRecord& record);
  void OnRecordRequest(const NodeId& peer);
  void OnHints(const wire::PeerHints& hints);
  // Members of earlier runs, with the addresses where they were.
  void OnRemembered(const wire::PeerHints& peers);
  void OnGoodbye(const NodeId& peer, const wire::Goodbye& goodbye);
  // This node did not run for `gap`: silence of others in that time proves nothing.
  void OnWake(Time gap);
  void OnTime();

  void SetGuests(const std::vector<NodeId>& guests);
  void SetLocal(const wire::NodeRecord& record);
  void SetReserved(uint64_t bytes);
  void SetProgress(uint64_t work_items) { progress_ = work_items; }

  const wire::NodeRecord& self() const { return self_; }
  bool IsAlive(const NodeId& peer) const;  // has a session (ALIVE or SUSPECT); self always
  std::string NameOf(const NodeId& peer) const;
  std::vector<NodeId> Sessions() const;
  const wire::NodeRecord* RecordOf(const NodeId& peer) const;  // null: none yet
  std::vector<PlanNode> PlannerNodes() const;  // self and ALIVE peers with the same numerics
  // The same without those that take no part, but for this one and those that ask: their users get
  // what nobody else can run.
  std::vector<PlanNode> NodesFor(std::span<const NodeId> asking) const;
  // Those that take no part, and why: "; laptop (on battery, 20 %; offers nothing)"; or "".
  std::string Withholding() const;
  std::vector<NodeStatus> Status() const;

 private:
  static constexpr size_t kSentTimes =
      16;  // heartbeats in flight that a round trip can be measured with
  // Members, those that are gone included. Four times the sessions that a node has at most
  // (net/peers.cc), so that a member with a session always finds a place.
  static constexpr size_t kMaxPeers = 256;
  static constexpr size_t kMaxStrangers = 8;  // enough to show one's own mistyped secret
  static constexpr size_t kMaxAddresses = 4;  // of one peer: wired, wireless, IPv4 and IPv6
  // Round trips of heartbeats that are looked at together: enough that none of them waited for a
  // busy processor, few enough that a link that has become slow is seen within seconds.
  static constexpr size_t kRecentRtts = 4;

  struct Peer {
    wire::NodeRecord record;
    bool has_record = false;
    PeerState state = PeerState::kUnknown;
    bool session = false;
    bool was_alive = false;  // others were told that it is up
    bool met = false;        // had a session with this node, now or in an earlier run
    uint64_t boot_nonce = 0;
    uint64_t incarnation = 0;  // highest seen
    std::string name;
    std::string detail;
    wire::RefusalCode refusal = wire::RefusalCode::kNotMember;
    wire::Protocols protocols;
    std::vector<wire::Address> addresses;
    Time last_heard{};
    Time down_since{};  // without a session; else meaningless
    Time next_attempt{};
    Time next_heartbeat{};
    std::array<double, kRecentRtts> rtts_ms{};  // the latest ones; 0: not yet
    size_t next_rtt = 0;
    uint64_t sent = 0;    // last heartbeat sequence
    uint64_t heard = 0;   // last one heard from it
    uint64_t echoed = 0;  // last of ours that it has confirmed
    uint64_t progress = 0;
    std::array<Time, kSentTimes> sent_at{};
    std::optional<std::chrono::milliseconds> clock_ahead;
  };
  struct Stranger {
    PeerRefused refused;
    Time seen{};
  };
  Peer* Find(const NodeId& id);
  // Null: no room, or not a peer's id. Only a session makes room by forgetting somebody.
  Peer* FindOrAdd(const NodeId& id, bool make_room);
  bool ForgetOne();
  void ForgetOld();
  void NoteStranger(const PeerRefused& event);
  static void HideModels(Peer& guest);
  void AddHint(const NodeId& id, const std::vector<wire::Address>& addresses, bool met);
  std::string SilenceText(Time silent) const;
  void MarkLost(const NodeId& id, Peer& peer, PeerState state, std::string reason);
  // The shortest of the latest ones, which is the network's; 0: none yet.
  static double RttOf(const Peer& peer);
  void CompareClocks(Peer& peer, const wire::Heartbeat& heartbeat);
  void SendHeartbeat(const NodeId& id, Peer& peer);
  void SendHints(const NodeId& to);
  void Reconnect(const NodeId& id, Peer& peer);
  void Publish();

  Context& context_;
  wire::NodeRecord self_;
  uint64_t progress_ = 0;
  std::map<NodeId, Peer> peers_;
  std::map<NodeId, Stranger> strangers_;
  std::set<NodeId> guests_;
  std::vector<Notice> notices_;
};

}  // namespace exo::cluster
