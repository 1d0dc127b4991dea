#include "cluster/members.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "cluster/describe.h"
#include "wire/limits.h"

namespace exo::cluster {
namespace {
constexpr size_t kMaxHints = 256;     // of one message
constexpr uint64_t kAnswerEvery = 8;  // see OnHeartbeat
// Beyond these a measurement says nothing, whoever made it.
constexpr double kMostLayerBytes = 1e9;
constexpr double kLeastDuty = 0.01;
constexpr double kMostCost = 50;
constexpr double kMostRttMs = 1e5;
constexpr double kMostMbps = 1e7;
constexpr double kMostDiskGbps = 1000;

std::vector<wire::FormatCost> Plausible(std::vector<wire::FormatCost> formats) {
  for (wire::FormatCost& format : formats) {
    format.decode = std::clamp(format.decode, 1 / kMostCost, kMostCost);
    format.prefill = std::clamp(format.prefill, 1 / kMostCost, kMostCost);
  }
  return formats;
}

std::vector<PlanLink> LinksOf(const wire::NodeRecord& record) {
  std::vector<PlanLink> links;
  for (const wire::LinkRecord& link : record.links) {
    links.push_back({.to = link.to,
                     .rtt_ms = std::clamp(link.rtt_ms, 0.0, kMostRttMs),
                     .rtt_p99_ms = std::clamp(link.rtt_p99_ms, 0.0, kMostRttMs),
                     .mbps = std::clamp(link.mbps, 0.0, kMostMbps)});
  }
  return links;
}
}  // namespace

Members::Members(Context& context) : context_(context) {
  self_.id = context.options.self;
  self_.name = context.options.name;
  self_.incarnation = context.options.incarnation;
  self_.version = 1;
}

Members::Peer* Members::Find(const NodeId& id) {
  const auto at = peers_.find(id);
  return at == peers_.end() ? nullptr : &at->second;
}

Members::Peer* Members::FindOrAdd(const NodeId& id, bool make_room) {
  if (id == self_.id || id.IsZero()) return nullptr;
  if (Peer* known = Find(id)) return known;
  if (peers_.size() >= kMaxPeers && !(make_room && ForgetOne())) return nullptr;
  Peer& peer = peers_[id];
  peer.record.id = id;
  peer.down_since = context_.now;
  return &peer;
}

// Whoever was only heard of before whoever was here, and the longest gone first.
bool Members::ForgetOne() {
  auto oldest = peers_.end();
  for (auto at = peers_.begin(); at != peers_.end(); ++at) {
    const Peer& peer = at->second;
    if (peer.session || peer.was_alive) continue;
    if (oldest == peers_.end() || std::pair(peer.met, peer.down_since) <
                                      std::pair(oldest->second.met, oldest->second.down_since)) {
      oldest = at;
    }
  }
  if (oldest == peers_.end()) return false;
  peers_.erase(oldest);
  return true;
}

void Members::ForgetOld() {
  const Timers& timers = context_.timers();
  const Time now = context_.now;
  const size_t members = std::erase_if(peers_, [&](const auto& entry) {
    const Peer& peer = entry.second;
    return !peer.session && !peer.was_alive &&
           now - peer.down_since > (peer.met ? timers.forget : timers.forget_unmet);
  });
  const size_t strangers = std::erase_if(strangers_, [&](const auto& entry) {
    return now - entry.second.seen > timers.forget_stranger;
  });
  if (members + strangers > 0) context_.changed = true;
}

void Members::NoteStranger(const PeerRefused& event) {
  if (event.peer == self_.id || event.peer.IsZero()) return;
  if (strangers_.size() >= kMaxStrangers && !strangers_.contains(event.peer)) {
    strangers_.erase(std::min_element(
        strangers_.begin(), strangers_.end(),
        [](const auto& a, const auto& b) { return a.second.seen < b.second.seen; }));
  }
  strangers_[event.peer] = {event, context_.now};
  context_.changed = true;
}

void Members::MarkLost(const NodeId& id, Peer& peer, PeerState state, std::string reason) {
  peer.state = state;
  peer.detail = reason;
  peer.down_since = context_.now;
  context_.changed = true;
  if (peer.session) {
    peer.session = false;
    context_.Emit(Disconnect{id, reason});
  }
  if (peer.was_alive) notices_.push_back({id, false, std::move(reason)});
  peer.was_alive = false;
}

void Members::OnUp(const SessionUp& event) {
  Peer* peer = FindOrAdd(event.peer, true);
  if (peer == nullptr) return;
  strangers_.erase(event.peer);
  peer->met = true;
  if (peer->was_alive && peer->boot_nonce != event.boot_nonce) {
    peer->session = false;  // the old one is gone with the old process
    MarkLost(event.peer, *peer, PeerState::kConnecting, "it was restarted");
  }
  peer->boot_nonce = event.boot_nonce;
  peer->name = event.name;
  if (event.address.port != 0) {
    // A node listens on one port: addresses with another one are those of an earlier start.
    std::erase_if(peer->addresses, [&](const wire::Address& old) {
      return old == event.address || old.port != event.address.port;
    });
    peer->addresses.insert(peer->addresses.begin(), event.address);
    peer->addresses.resize(std::min(peer->addresses.size(), kMaxAddresses));
  }
  CHECK(event.peer != self_.id);
  CHECK(peers_.size() <= kMaxPeers);
  peer->session = true;
  peer->was_alive = true;
  peer->state = PeerState::kAlive;
  peer->detail.clear();
  peer->last_heard = context_.now;
  peer->sent = peer->heard = peer->echoed = 0;
  peer->rtts_ms = {};  // of another path, perhaps
  peer->clock_ahead.reset();
  context_.changed = true;
  notices_.push_back({event.peer, true, ""});
  context_.SendTo(event.peer, wire::NodeUpdate{self_});
  SendHints(event.peer);
  SendHeartbeat(event.peer, *peer);
}

void Members::OnDown(const SessionDown& event) {
  Peer* peer = Find(event.peer);
  if (peer == nullptr || !peer->session) return;
  peer->session = false;
  peer->state = PeerState::kConnecting;
  peer->detail = event.reason;
  peer->down_since = context_.now;
  context_.changed = true;
  Reconnect(event.peer, *peer);
}

void Members::OnRefused(const PeerRefused& event) {
  Peer* peer = Find(event.peer);
  if (peer == nullptr || !peer->met) return NoteStranger(event);
  if (peer->session) return;
  peer->refusal = event.code;
  peer->protocols = event.protocols;
  MarkLost(event.peer, *peer, PeerState::kRefused, event.reason);
}

void Members::OnForgotten(const PeerForgotten& event) {
  Peer* peer = Find(event.peer);
  if (peer == nullptr) return;
  MarkLost(event.peer, *peer, PeerState::kRefused, event.reason);
  peers_.erase(event.peer);
}

void Members::SetGuests(const std::vector<NodeId>& guests) {
  guests_ = {guests.begin(), guests.end()};
  for (const NodeId& id : guests) {
    if (Peer* peer = Find(id)) HideModels(*peer);
  }
}

// Whoever asks for a model asks a device that has it, with the prompt in the end.
void Members::HideModels(Peer& guest) {
  guest.record.models.clear();
}

void Members::OnLeave(const Leave& event) {
  for (const NodeId& id : Sessions()) context_.SendTo(id, wire::Goodbye{event.reason});
}

bool Members::NoteActivity(const NodeId& id) {
  Peer* peer = Find(id);
  if (peer == nullptr || !peer->session) return false;
  peer->last_heard = context_.now;
  if (peer->state == PeerState::kSuspect) {
    peer->state = PeerState::kAlive;
    peer->detail.clear();
    context_.changed = true;
  }
  return true;
}

void Members::OnHeartbeat(const NodeId& id, const wire::Heartbeat& heartbeat) {
  Peer& peer = *Find(id);
  peer.heard = heartbeat.sequence;
  peer.progress = heartbeat.progress;
  const bool answered_at_once = self_.id < id || heartbeat.echo % kAnswerEvery == 0;
  const bool first_echo = heartbeat.echo > peer.echoed && heartbeat.echo <= peer.sent;
  if (answered_at_once && first_echo && heartbeat.echo + kSentTimes > peer.sent) {
    const Time rtt = context_.now - peer.sent_at[heartbeat.echo % kSentTimes];
    peer.rtts_ms[peer.next_rtt++ % kRecentRtts] = static_cast<double>(rtt.count()) * 1e-6;
  }
  CompareClocks(peer, heartbeat);
  if (first_echo) peer.echoed = heartbeat.echo;
  if (!peer.has_record || heartbeat.incarnation != peer.record.incarnation ||
      heartbeat.record_version > peer.record.version) {
    context_.SendTo(id, wire::RecordRequest{});
  }
  // The larger id answers every heartbeat at once, the smaller one each eighth: both can measure,
  // no storm.
  if (self_.id > id || heartbeat.sequence % kAnswerEvery == 0) SendHeartbeat(id, peer);
}

double Members::RttOf(const Peer& peer) {
  double shortest = 0;
  for (const double ms : peer.rtts_ms) {
    if (ms > 0 && (shortest == 0 || ms < shortest)) shortest = ms;
  }
  return shortest;
}

// The peer has read its clock between our heartbeat that it echoes and now: what it says beyond
// both of our readings is what the clocks differ by, at the least.
void Members::CompareClocks(Peer& peer, const wire::Heartbeat& heartbeat) {
  using Milliseconds = std::chrono::milliseconds;
  const bool echoes =
      heartbeat.echo > 0 && heartbeat.echo <= peer.sent && heartbeat.echo + kSentTimes > peer.sent;
  if (!echoes || heartbeat.wall_ms == 0 || context_.WallMs() == 0) return;
  const Milliseconds theirs(heartbeat.wall_ms), now(context_.WallMs());
  const Time since = context_.now - peer.sent_at[heartbeat.echo % kSentTimes];
  const Milliseconds before = now - std::chrono::ceil<Milliseconds>(since);
  peer.clock_ahead = theirs - std::clamp(theirs, before, now);
}

void Members::OnRecord(const NodeId& id, const wire::NodeRecord& record) {
  Peer& peer = *Find(id);
  if (record.id != id) return;  // only a node itself writes its record
  if (peer.has_record && std::pair(record.incarnation, record.version) <=
                             std::pair(peer.record.incarnation, peer.record.version)) {
    return;
  }
  peer.record = record;
  if (guests_.contains(id)) HideModels(peer);
  peer.has_record = true;
  peer.incarnation = record.incarnation;
  context_.changed = true;
}

void Members::OnRecordRequest(const NodeId& id) {
  context_.SendTo(id, wire::NodeUpdate{self_});
}

void Members::OnHints(const wire::PeerHints& hints) {
  size_t taken = 0;
  for (const auto& hint : hints.peers) {
    if (++taken > kMaxHints) return;
    AddHint(hint.id, hint.addresses, false);
  }
}

void Members::OnRemembered(const wire::PeerHints& peers) {
  for (const auto& peer : peers.peers) AddHint(peer.id, peer.addresses, true);
}

void Members::AddHint(const NodeId& id, const std::vector<wire::Address>& addresses, bool met) {
  Peer* peer = FindOrAdd(id, false);
  if (peer == nullptr || peer->session) return;
  peer->met |= met;
  if (peer->state == PeerState::kUnknown) {
    peer->state = met ? PeerState::kDead : PeerState::kConnecting;
    if (met) peer->detail = "not seen since this device started";
    context_.changed = true;
  }
  if (peer->addresses.empty()) {
    const size_t count = std::min(addresses.size(), kMaxAddresses);
    peer->addresses.assign(addresses.begin(), addresses.begin() + static_cast<ptrdiff_t>(count));
  }
  Reconnect(id, *peer);
}

void Members::OnGoodbye(const NodeId& id, const wire::Goodbye& goodbye) {
  MarkLost(id, *Find(id), PeerState::kLeft,
           goodbye.reason.empty() ? "it said goodbye" : goodbye.reason);
}

void Members::OnWake(Time gap) {
  for (auto& [id, peer] : peers_) {
    peer.last_heard += gap;
    peer.down_since += gap;
  }
}

// A moment, where one is known: what is read later is still right.
std::string Members::SilenceText(Time silent) const {
  const uint64_t wall_ms = context_.WallMs(), silent_ms = silent / std::chrono::milliseconds(1);
  if (wall_ms <= silent_ms || wall_ms > wire::kMaxWallMs)
    return fmt::format("silent for {} s", silent_ms / 1000);
  const std::chrono::sys_time since{std::chrono::milliseconds(wall_ms - silent_ms)};
  const auto day = std::chrono::floor<std::chrono::days>(since);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(since - day);
  return fmt::format("silent since {}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
                     static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count());
}

void Members::OnTime() {
  const Timers& timers = context_.timers();
  ForgetOld();
  for (auto& [id, peer] : peers_) {
    const Time silent = context_.now - peer.last_heard;
    if (peer.session && silent > timers.dead) {
      MarkLost(id, peer, PeerState::kDead, SilenceText(silent));
    } else if (peer.session && peer.state == PeerState::kAlive && silent > timers.suspect) {
      peer.state = PeerState::kSuspect;
      peer.detail = SilenceText(silent);
      context_.changed = true;
    } else if (!peer.session && peer.was_alive &&
               context_.now - peer.down_since > timers.reconnect) {
      MarkLost(id, peer, PeerState::kDead, peer.detail + "; it did not come back");
    }
    if (peer.session && context_.now >= peer.next_heartbeat) SendHeartbeat(id, peer);
    if (!peer.session && context_.now >= peer.next_attempt) Reconnect(id, peer);
  }
}

void Members::SendHeartbeat(const NodeId& id, Peer& peer) {
  ++peer.sent;
  peer.sent_at[peer.sent % kSentTimes] = context_.now;
  peer.next_heartbeat = context_.now + context_.timers().heartbeat;
  context_.SendTo(id, wire::Heartbeat{.sequence = peer.sent,
                                      .incarnation = self_.incarnation,
                                      .record_version = self_.version,
                                      .echo = peer.heard,
                                      .progress = progress_,
                                      .wall_ms = std::min(context_.WallMs(), wire::kMaxWallMs)});
}

void Members::SendHints(const NodeId& to) {
  wire::PeerHints hints;
  for (const auto& [id, peer] : peers_) {
    if (id == to || !peer.session) continue;
    // A link-local address is worth nothing without this node's own interface.
    std::vector<wire::Address> addresses = peer.addresses;
    std::erase_if(addresses, [](const wire::Address& a) { return a.host.contains('%'); });
    if (!addresses.empty()) hints.peers.push_back({id, std::move(addresses)});
  }
  if (!hints.peers.empty()) context_.SendTo(to, std::move(hints));
}

void Members::Reconnect(const NodeId& id, Peer& peer) {
  // Soon at first, then seldom.
  const Timers& timers = context_.timers();
  peer.next_attempt = context_.now + std::clamp((context_.now - peer.down_since) / 10, timers.retry,
                                                timers.max_retry);
  if (peer.state == PeerState::kRefused || peer.state == PeerState::kLeft || peer.addresses.empty())
    return;
  context_.Emit(ConnectPeer{id, peer.addresses});
}

void Members::SetLocal(const wire::NodeRecord& record) {
  wire::NodeRecord next = record;
  next.id = self_.id;
  next.incarnation = self_.incarnation;
  next.version = self_.version;
  if (!next.devices.empty()) next.devices[0].memory_reserved = wire::TotalOf(self_).memory_reserved;
  if (next.name.empty()) next.name = self_.name;
  if (next == self_) return;
  self_ = std::move(next);
  Publish();
}

void Members::SetReserved(uint64_t bytes) {
  if (self_.devices.empty() || self_.devices[0].memory_reserved == bytes) return;
  self_.devices[0].memory_reserved = bytes;
  Publish();
}

void Members::Publish() {
  ++self_.version;
  context_.changed = true;
  for (const NodeId& id : Sessions()) context_.SendTo(id, wire::NodeUpdate{self_});
}

bool Members::IsAlive(const NodeId& id) const {
  const auto at = peers_.find(id);
  return id == self_.id || (at != peers_.end() && at->second.session);
}

std::string Members::NameOf(const NodeId& id) const {
  if (id == self_.id) return self_.name;
  const auto at = peers_.find(id);
  if (at == peers_.end()) return id.Short();
  if (at->second.has_record && !at->second.record.name.empty()) return at->second.record.name;
  return at->second.name.empty() ? id.Short() : at->second.name;
}

std::vector<NodeId> Members::Sessions() const {
  std::vector<NodeId> ids;
  for (const auto& [id, peer] : peers_) {
    if (peer.session) ids.push_back(id);
  }
  return ids;
}

const wire::NodeRecord* Members::RecordOf(const NodeId& id) const {
  if (id == self_.id) return &self_;
  const auto at = peers_.find(id);
  return at == peers_.end() || !at->second.has_record ? nullptr : &at->second.record;
}

std::vector<PlanNode> Members::PlannerNodes() const {
  std::vector<PlanNode> nodes;
  const auto add = [&](const wire::NodeRecord& record, double rtt_ms) {
    const wire::DeviceRecord device = wire::TotalOf(record);
    const uint64_t available = device.memory_budget > device.memory_reserved
                                   ? device.memory_budget - device.memory_reserved
                                   : 0;
    const double share = 1 - 0.01 * record.health.withheld;
    const double counted = share > 0 ? share : 1;
    nodes.push_back({.id = record.id,
                     .name = NameOf(record.id),
                     .memory_available = available,
                     .memory_budget = device.memory_budget,
                     .decode_gbps = device.decode_gbps * counted,
                     .prefill_gops = device.prefill_gops * counted,
                     .layer_bytes = std::clamp(device.layer_bytes, 0.0, kMostLayerBytes),
                     .formats = Plausible(device.formats),
                     .duty = std::clamp(device.duty, kLeastDuty, 1.0),
                     .rtt_ms = rtt_ms,
                     .disk_gbps = std::clamp(device.disk_gbps, 0.0, kMostDiskGbps),
                     .share = share,
                     .guest = guests_.contains(record.id),
                     .links = LinksOf(record)});
  };
  // A guest places nothing: it would see the text, and the members' devices are not its to use.
  if (guests_.contains(self_.id)) return nodes;
  add(self_, 0);
  for (const auto& [id, peer] : peers_) {
    if (peer.state != PeerState::kAlive || !peer.has_record ||
        peer.record.numerics != self_.numerics)
      continue;
    add(peer.record, RttOf(peer));
  }
  return nodes;
}

std::vector<PlanNode> Members::NodesFor(std::span<const NodeId> asking) const {
  std::vector<PlanNode> nodes = PlannerNodes();
  std::erase_if(nodes, [&](const PlanNode& node) {
    return !(node.share > 0) && node.id != self_.id &&
           std::ranges::find(asking, node.id) == asking.end();
  });
  return nodes;
}

std::string Members::Withholding() const {
  std::string text;
  for (const PlanNode& node : PlannerNodes()) {
    const wire::NodeRecord* record = RecordOf(node.id);
    if (node.share > 0 || record == nullptr) continue;
    text += fmt::format("{}{} ({})", text.empty() ? "; " : ", ", node.name,
                        DescribeHealth(record->health));
  }
  return text.empty() ? text : text + " is not counted on";
}

std::vector<NodeStatus> Members::Status() const {
  std::vector<NodeStatus> all;
  all.push_back({.self = true,
                 .record = self_,
                 .state = PeerState::kAlive,
                 .last_heard = context_.now,
                 .progress = progress_});
  for (const auto& [id, peer] : peers_) {
    NodeStatus status{.record = peer.record,
                      .state = peer.state,
                      .detail = peer.detail,
                      .refusal = peer.refusal,
                      .protocols = peer.protocols,
                      .rtt_ms = RttOf(peer),
                      .last_heard = peer.last_heard,
                      .progress = peer.progress,
                      .clock_ahead = peer.clock_ahead};
    status.record.id = id;
    status.record.name = NameOf(id);
    all.push_back(std::move(status));
  }
  for (const auto& [id, stranger] : strangers_) {
    NodeStatus status{.state = PeerState::kRefused,
                      .detail = stranger.refused.reason,
                      .refusal = stranger.refused.code,
                      .protocols = stranger.refused.protocols,
                      .last_heard = stranger.seen};
    status.record.id = id;
    status.record.name = id.Short();
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace exo::cluster
