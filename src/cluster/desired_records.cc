#include "cluster/desired_records.h"

#include <algorithm>

#include "base/check.h"
#include "wire/limits.h"

namespace exo::cluster {

const wire::DesiredModel* DesiredRecords::Find(const ModelId& model) const {
  const auto at = records_.find(model);
  return at == records_.end() ? nullptr : &at->second;
}

wire::HybridTime DesiredRecords::VersionOf(const ModelId& model) const {
  const wire::DesiredModel* record = Find(model);
  return record == nullptr ? wire::HybridTime{} : record->version;
}

wire::HybridTime DesiredRecords::NextVersion(const ModelId& model) const {
  const wire::HybridTime known = VersionOf(model);
  wire::HybridTime next{.wall_ms = std::min(context_.WallMs(), wire::kMaxWallMs),
                        .node = context_.self()};
  if (next.wall_ms <= known.wall_ms) {
    const bool full = known.counter == ~uint32_t{0};
    next.wall_ms = std::min(known.wall_ms + (full ? 1 : 0), wire::kMaxWallMs);
    next.counter = full ? 0 : known.counter + 1;
  }
  return next;
}

bool DesiredRecords::Write(const wire::DesiredModel& record) {
  CHECK(record.version.node == context_.self());  // only a writer signs its version
  if (!Adopt(record)) return false;
  context_.Emit(SaveDesired{All()});
  Spread();
  return true;
}

bool DesiredRecords::Adopt(const wire::DesiredModel& record) {
  const wire::DesiredModel* known = Find(record.model);
  if (known != nullptr && record.version <= known->version &&
      !(context_.options.bugs.no_version_check && record.version != known->version)) {
    return false;
  }
  if (known == nullptr && records_.size() >= wire::kMaxDesired && !MakePlace()) return false;
  records_.insert_or_assign(record.model, record);
  changes_.push_back(record);
  context_.changed = true;
  CHECK(records_.size() <= wire::kMaxDesired);
  return true;
}

// The oldest record of a model that is not kept running is forgotten.
bool DesiredRecords::MakePlace() {
  const auto oldest =
      std::min_element(records_.begin(), records_.end(), [](const auto& a, const auto& b) {
        const bool runs_a = a.second.state == wire::DesiredState::kRunning;
        const bool runs_b = b.second.state == wire::DesiredState::kRunning;
        return runs_a != runs_b ? !runs_a : a.second.version < b.second.version;
      });
  if (oldest->second.state == wire::DesiredState::kRunning) return false;
  records_.erase(oldest);
  return true;
}

void DesiredRecords::OnRestore(const std::vector<wire::DesiredModel>& records) {
  for (const wire::DesiredModel& record : records) Adopt(record);
}

void DesiredRecords::OnUpdate(const NodeId& from, const wire::DesiredUpdate& update) {
  wire::DesiredAck ack;
  bool adopted = false;
  for (const wire::DesiredModel& record : update.models) {
    Confirm(from, record.model, record.version);
    adopted |= Adopt(record);
    ack.models.push_back({record.model, VersionOf(record.model)});
  }
  if (adopted) {
    context_.Emit(SaveDesired{All()});
    Spread();
  }
  context_.SendTo(from, std::move(ack));
  SendMissing(from);  // what it has is older than ours
}

void DesiredRecords::Confirm(const NodeId& peer, const ModelId& model,
                             const wire::HybridTime& version) {
  if (!members_.IsAlive(peer)) return;
  std::map<ModelId, wire::HybridTime>& known = confirmed_[peer];
  if (known.size() >= wire::kMaxDesired && !known.contains(model)) return;
  wire::HybridTime& newest = known[model];
  newest = std::max(newest, version);
}

void DesiredRecords::OnAck(const NodeId& from, const wire::DesiredAck& ack) {
  for (const wire::DesiredAck::Entry& entry : ack.models) Confirm(from, entry.model, entry.version);
}

void DesiredRecords::OnPeerUp(const NodeId& peer) {
  SendMissing(peer);
}

void DesiredRecords::SendMissing(const NodeId& peer) {
  wire::DesiredUpdate update;
  const std::map<ModelId, wire::HybridTime>& has = confirmed_[peer];
  for (const auto& [model, record] : records_) {
    const auto at = has.find(model);
    if (at == has.end() || at->second < record.version) update.models.push_back(record);
  }
  if (!update.models.empty()) context_.SendTo(peer, std::move(update));
}

void DesiredRecords::Spread() {
  for (const NodeId& peer : members_.Sessions()) SendMissing(peer);
}

std::vector<NodeId> DesiredRecords::Unconfirmed(const ModelId& model,
                                                const wire::HybridTime& version) const {
  std::vector<NodeId> missing;
  for (const NodeId& peer : members_.Sessions()) {
    const auto has = confirmed_.find(peer);
    const bool confirmed =
        has != confirmed_.end() && has->second.contains(model) && has->second.at(model) >= version;
    if (!confirmed) missing.push_back(peer);
  }
  return missing;
}

std::vector<wire::DesiredModel> DesiredRecords::All() const {
  std::vector<wire::DesiredModel> all;
  for (const auto& [model, record] : records_) all.push_back(record);
  return all;
}

}  // namespace exo::cluster
