// What this node sees of itself and its cluster, for `exo doctor`, and where models lie.
#include <algorithm>
#include <utility>

#include "cluster/describe.h"
#include "net/interfaces.h"
#include "node/node_impl.h"
#include "sys/standard_streams.h"

namespace exo::node {
namespace {

// A file of a model and what it takes besides, in the roughest measure.
uint64_t MemoryFor(uint64_t file_bytes) {
  return file_bytes + file_bytes / 8;
}

std::vector<wire::Address> OwnAddresses(uint16_t port) {
  std::vector<wire::Address> addresses;
  for (const net::Interface& one : net::ListInterfaces()) {
    if (one.loopback) continue;
    addresses.push_back(net::ToAddress(one.address));
    addresses.back().port = port;
  }
  return addresses;
}

}  // namespace

Result<ModelPlace> NodeImpl::FindPlace(const std::string& model) const {
  const auto preset = presets_.Find(model);
  const std::string name = NameHere(preset == nullptr ? model : preset->base);
  const auto matches = MatchesOf(name);
  if (matches.empty()) return Fail(ErrorCode::kNotFound, "there is no model '{}'", model);
  if (matches.size() > 1) {
    return Fail(ErrorCode::kInvalid,
                "'{}' is the name of {} different models; exo models tells them "
                "apart",
                model, matches.size());
  }
  const ModelId& id = matches.begin()->first;
  ModelPlace place{.name = name};
  if (const auto file = models_->Find(id)) place.path = file->path();
  if (ManifestOf(id) != nullptr) place.devices.push_back(record_.name);
  for (const NodeId& holder : HoldersOf(id)) place.devices.push_back(NameOf(holder));
  return place;
}

MemberSight NodeImpl::LookAtMember(const cluster::NodeStatus& status) const {
  MemberSight sight{
      .name = KnownNameOf(status.record),
      .id = status.record.id.Hex(),
      .state = status.self ? "self" : cluster::PeerStateName(status.state),
      .detail = status.detail,
      .refusal = status.refusal,
      .protocols = status.protocols,
      .clock_ahead = status.state == cluster::PeerState::kAlive ? status.clock_ahead : std::nullopt,
      .same_arithmetic = status.self || status.state != cluster::PeerState::kAlive ||
                         status.record.devices.empty() ||
                         status.record.numerics == record_.numerics,
      .withheld = status.record.health.withheld,
      .health = cluster::DescribeHealth(status.record.health)};
  const auto path = links_.PathOf(status.record.id);
  if (!path) return sight;
  const auto way = [](const wire::NodeRecord& from, const NodeId& to) {
    const auto at = std::ranges::find(from.links, to, &wire::LinkRecord::to);
    return at == from.links.end() ? std::nullopt : std::optional(*at);
  };
  sight.there = way(record_, status.record.id);
  sight.back = way(status.record, record_.id);
  sight.better = net::FindBetterPath(record_.interfaces, status.record.interfaces, *path);
  const auto addresses = peers_->AddressesOf(status.record.id);
  if (sight.better && !addresses.empty())
    sight.better_address = {sight.better->other.host, addresses[0].port};
  return sight;
}

ClusterSight NodeImpl::LookAtCluster() const {
  ClusterSight sight{.discovery_wanted = options_.discovery,
                     .loopback_only = options_.loopback,
                     .static_peers = !options_.peers.empty(),
                     .interfaces = OwnAddresses(0).size(),
                     .port = port(),
                     .memory_limit = options_.memory_limit,
                     .broken_models = models_->Broken(),
                     .log_lines_lost = sys::LostLogLines()};
  if (discovery_ != nullptr) {
    sight.discovery = discovery_->Report();
    sight.strangers = discovery_->foreign_nodes();
  }
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    // One that was forgotten is refused for ever, as its owner wants it.
    if (!trust_->IsRevoked(status.record.id)) sight.members.push_back(LookAtMember(status));
  }
  for (const auto& entry : inviter_->Pending())
    sight.pending.push_back(fmt::format("{} ({})", entry.id.Hex().substr(0, 16), entry.name));
  const wire::DeviceRecord device = wire::TotalOf(record_);
  sight.memory_total = device.memory_total;
  sight.memory_budget = device.memory_budget;
  for (const cluster::NodeStatus& status : core_->Nodes())
    if (status.self) sight.memory_reserved = wire::TotalOf(status.record).memory_reserved;
  for (const ModelView& model : Models()) {
    if (!model.base.empty() || model.bytes == 0) continue;
    const uint64_t takes = MemoryFor(model.bytes);
    sight.smallest_model = std::min(sight.smallest_model.value_or(takes), takes);
  }
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    if (instance.summary.state == wire::InstanceState::kDraining)
      sight.failing_models.push_back(
          fmt::format("{}: {}", instance.summary.plan.model_name,
                      cluster::DescribeState(instance.summary, Names())));
  }
  return sight;
}

void NodeImpl::Diagnose(std::function<void(std::vector<Finding>)> done) {
  struct Seen {
    DeviceSight device;
    std::vector<std::vector<std::string>> unreached;
  };
  ClusterSight sight = LookAtCluster();
  // This device's own addresses, those that were heard, and those of each member that is not here.
  AddressLists lists = {options_.loopback ? std::vector<wire::Address>() : OwnAddresses(port()),
                        sight.discovery.heard};
  for (const MemberSight& member : sight.members) {
    const bool here = member.state == "self" || member.state == "alive";
    lists.push_back(!here ? peers_->AddressesOf(NodeId::FromHex(member.id).value_or(NodeId{}))
                    : member.better ? std::vector{member.better_address}
                                    : std::vector<wire::Address>());
    if (member.state != "left") continue;  // its last announcements are known for a while
    std::erase_if(lists[1], [&](const wire::Address& heard) {
      return std::ranges::find(lists.back(), heard) != lists.back().end();
    });
  }
  const bool begun = jobs_.Run(
      Jobs::Class::kNet, "doctor",
      [folder = options_.data_folder, lists = std::move(lists)](const std::atomic<bool>&) {
        return Seen{.device = LookAtDevice(folder), .unreached = Unreached(lists)};
      },
      [sight, done](Seen seen) mutable {
        sight.own_unreached = std::move(seen.unreached[0]);
        sight.heard_unreached = std::move(seen.unreached[1]);
        for (size_t i = 0; i < sight.members.size(); ++i)
          sight.members[i].reasons = std::move(seen.unreached[i + 2]);
        // A network of the same name in another home, perhaps, or a wall between the two.
        for (MemberSight& member : sight.members) {
          if (member.better && !member.reasons.empty()) member.better.reset();
        }
        std::vector<Finding> findings = JudgeDevice(seen.device);
        for (Finding& one : JudgeCluster(sight)) findings.push_back(std::move(one));
        done(std::move(findings));
      });
  if (begun) return;
  for (MemberSight& member : sight.members) member.better.reset();  // nobody has looked
  done(JudgeCluster(sight));
}

}  // namespace exo::node
