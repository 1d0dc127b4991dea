// The replicated part of desired models: one versioned record for each model, the larger version
// wins on every member. A write goes to all sessions and is passed on by whoever learns of it; a
// member answers with the version it has, and what it did not confirm is sent again with its next
// session. The driver keeps the records on disk (SaveDesired) and brings them back
// (RestoreDesired).
//
// No clock is ever set from another one: a version counts on from the record that it replaces
// (wire::HybridTime), so a device whose clock is wrong costs nothing but the order of writes that
// knew nothing of each other.
#pragma once

#include <map>
#include <vector>

#include "cluster/context.h"
#include "cluster/members.h"

namespace exo::cluster {

class DesiredRecords {
 public:
  DesiredRecords(Context& context, Members& members) : context_(context), members_(members) {}

  // Records that are new here since the last call, in order.
  std::vector<wire::DesiredModel> TakeChanges() { return std::exchange(changes_, {}); }

  // A version above the known record's.
  wire::HybridTime NextVersion(const ModelId& model) const;
  // Adopts a record of this node and sends it to everybody. False: a newer one is known.
  bool Write(const wire::DesiredModel& record);

  void OnRestore(const std::vector<wire::DesiredModel>& records);
  void OnUpdate(const NodeId& from, const wire::DesiredUpdate& update);
  void OnAck(const NodeId& from, const wire::DesiredAck& ack);
  void OnPeerUp(const NodeId& peer);
  void OnPeerLost(const NodeId& peer) { confirmed_.erase(peer); }

  const wire::DesiredModel* Find(const ModelId& model) const;  // null: never desired
  wire::HybridTime VersionOf(const ModelId& model) const;      // zero: never desired
  // Members with a session that have not confirmed this version yet.
  std::vector<NodeId> Unconfirmed(const ModelId& model, const wire::HybridTime& version) const;
  std::vector<wire::DesiredModel> All() const;

 private:
  // False: known, or older than what is known.
  bool Adopt(const wire::DesiredModel& record);
  bool MakePlace();
  void Confirm(const NodeId& peer, const ModelId& model, const wire::HybridTime& version);
  void SendMissing(const NodeId& peer);
  void Spread();

  Context& context_;
  Members& members_;
  std::map<ModelId, wire::DesiredModel> records_;
  // The newest version that a member is known to have, since its last start.
  std::map<NodeId, std::map<ModelId, wire::HybridTime>> confirmed_;
  std::vector<wire::DesiredModel> changes_;
};

}  // namespace exo::cluster
