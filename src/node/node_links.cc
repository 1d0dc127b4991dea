// How fast the ways to other members are: measured while nothing is answered over them, and
// corrected by what models send.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "net/connect_link.h"
#include "net/interfaces.h"
#include "node/node_impl.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// Neither end has done work for so long.
constexpr Time kQuietEnds = std::chrono::seconds(2);
constexpr Time kConnectTime = std::chrono::seconds(5);
// Below which sessions that come up at the same time are spread.
constexpr uint64_t kSpreadMs = 2000;
constexpr Time kInterfacesPeriod = std::chrono::minutes(1);

uint64_t WallSeconds() {
  return static_cast<uint64_t>(std::max<int64_t>(sys::WallClockSeconds(), 0));
}

}  // namespace

void NodeImpl::OnLinkUp(const NodeId& peer) {
  const auto path = peers_->PathOf(peer);
  if (!path) return;
  links_.OnUp(peer, *path, sys::Now(),
              std::chrono::milliseconds(sys::RandomValue<uint64_t>() % kSpreadMs));
  interfaces_at_ = {};
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, key = LinkKeeper::KeyOf(peer, *path)](const std::atomic<bool>&) {
        return state->Get(key);
      },
      [this, peer, path = *path](std::optional<std::string> text) {
        const auto stored = text ? LinkKeeper::Read(*text) : std::nullopt;
        if (!stored) return;
        links_.Restore(peer, path, *stored, WallSeconds(), sys::Now());
        PublishLinks();
      });
  if (!begun) LOG(kDebug, "peer={}: what is known of its link is not read", peer.Short());
}

void NodeImpl::OnLinkDown(const NodeId& peer) {
  links_.OnDown(peer);
  link_work_.erase(peer);
  PublishLinks();
}

void NodeImpl::PublishLinks() {
  auto records = links_.Records();
  if (records == record_.links) return;
  record_.links = std::move(records);
  FeedRecord();
}

// Which members, and this device, have done no work for a while.
std::map<NodeId, bool> NodeImpl::QuietMembers(Time now) {
  std::map<NodeId, bool> quiet;
  const auto is_quiet = [&](const NodeId& node, uint64_t items) {
    LinkWork& work = link_work_[node];
    if (std::exchange(work.items, items) != items) work.since = now;
    return now - work.since >= kQuietEnds;
  };
  const bool here = is_quiet(identity_->id(), backend_->items_done());
  // Whoever loads a model may take it from another member.
  const bool loading = std::ranges::any_of(core_->Instances(), [](const auto& instance) {
    return instance.summary.state == wire::InstanceState::kReserving ||
           instance.summary.state == wire::InstanceState::kLoading;
  });
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.self || status.state != cluster::PeerState::kAlive) continue;
    quiet[status.record.id] = is_quiet(status.record.id, status.progress) && here && !loading;
    links_.LearnHeartbeat(status.record.id, status.rtt_ms, now);
  }
  return quiet;
}

// About once a second.
void NodeImpl::LookAtLinks() {
  const Time now = sys::Now();
  LookAtInterfaces(now);
  bool changed = false;
  for (const auto& [peer, mbps] : traffic_.TakeMbps())
    changed |= links_.LearnMbps(peer, mbps, WallSeconds());
  if (changed) PublishLinks();
  const auto quiet = QuietMembers(now);
  if (measuring_link_ || measuring_) return;  // what measures the device wants it alone
  if (turn_->Taken(now)) return;
  if (const auto job = links_.Next(now, quiet)) MeasureLink(*job);
}

void NodeImpl::MeasureLink(const LinkKeeper::Job& job) {
  net::ConnectOptions target = TargetOf(job.peer, wire::Channel::kBulk, PlanId{});
  // The way that the session takes, and no other.
  if (target.addresses.size() > 1) target.addresses.resize(1);
  const auto stop = std::make_shared<std::atomic<bool>>(!job.large);
  turn_->Ask(job.peer);
  measuring_link_ = jobs_.Run(
      Jobs::Class::kNet, "link",
      [identity = identity_, target, stop,
       turn = turn_](const std::atomic<bool>&) mutable -> Result<LinkFigures> {
        target.deadline = sys::Now() + kConnectTime;
        const auto link = TRY(net::ConnectLink(*identity, target));
        return ProbeLink(*link, *stop, *turn);
      },
      [this, job](Result<LinkFigures> figures) { OnLinkMeasured(job, std::move(figures)); });
  if (measuring_link_) {
    stop_large_ = stop;
    items_before_ = backend_->items_done();
  } else {
    turn_->End();
  }
}

// Ten times a second: an answer that begins does not share its link for longer.
void NodeImpl::YieldLink() {
  if (measuring_link_ && backend_->items_done() != items_before_) stop_large_->store(true);
}

void NodeImpl::OnLinkMeasured(const LinkKeeper::Job& job, Result<LinkFigures> figures) {
  measuring_link_ = false;
  turn_->End();
  double heartbeat_ms = 0;
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.record.id == job.peer) heartbeat_ms = status.rtt_ms;
  }
  if (!figures) {
    LOG(kDebug, "peer={}: its link was not measured: {}", job.peer.Short(),
        figures.error().message);
    return links_.OnMeasured(job, std::nullopt, heartbeat_ms, sys::Now());
  }
  links_.OnMeasured(job, LinkKeeper::Stored{*figures, WallSeconds()}, heartbeat_ms, sys::Now());
  PublishLinks();
  for (const wire::LinkRecord& link : record_.links) {
    if (link.to == job.peer) SaveLink(job, link);
  }
}

void NodeImpl::SaveLink(const LinkKeeper::Job& job, const wire::LinkRecord& link) {
  LOG(kInfo, "peer={}: measured {:.2f} ms there and back (99 %: {:.2f} ms), {:.0f} Mb/s to there",
      job.peer.Short(), link.rtt_ms, link.rtt_p99_ms, link.mbps);
  const LinkKeeper::Stored stored{{link.rtt_ms, link.rtt_p99_ms, link.mbps}, link.measured_s};
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [state = state_, key = LinkKeeper::KeyOf(job.peer, job.path),
       text = LinkKeeper::TextOf(stored)](const std::atomic<bool>&) {
        return state->Set(key, text);
      },
      [peer = job.peer](Result<void> saved) {
        if (!saved)
          LOG(kWarning, "peer={}: what was measured of its link is not remembered: {}",
              peer.Short(), saved.error().message);
      });
  if (!begun)
    LOG(kWarning, "peer={}: what was measured of its link is not remembered: files are busy",
        job.peer.Short());
}

void NodeImpl::LookAtInterfaces(Time now) {
  if (options_.loopback || now < interfaces_at_) return;
  interfaces_at_ = now + kInterfacesPeriod;
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {}, [](const std::atomic<bool>&) { return net::InterfaceRecords(); },
      [this](std::vector<wire::InterfaceRecord> interfaces) {
        if (interfaces == record_.interfaces) return;
        record_.interfaces = std::move(interfaces);
        FeedRecord();
      });
  if (!begun) interfaces_at_ = now;
}

}  // namespace exo::node
