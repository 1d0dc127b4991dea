// The inviting side of this node: the open invitation, and the devices that asked without one.
//
// Thread: loop. Owner: NodeImpl; outlives its connections.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "net/event_loop.h"
#include "net/invitation.h"
#include "node/audit_log.h"
#include "node/trust_keeper.h"

namespace exo::node {

class Inviter final : public net::PairInviter::Gate {
 public:
  Inviter(net::EventLoop& loop, TrustKeeper& trust, AuditLog& audit)
      : trust_(trust), audit_(audit), end_(loop) {}

  struct Shown {
    std::string code, link;
  };
  // `ended` is called when the invitation is over: used up or too old.
  Shown Open(wire::TrustRole role, std::function<void()> ended);

  // Devices that asked and were neither approved nor forgotten since.
  std::vector<wire::TrustEntry> Pending() const;
  void DropPending(const NodeId& id) { pending_.erase(id); }

  // --- net::PairInviter::Gate ---
  net::PairInviter::Answer<std::string> BeginRun(const NodeId& peer, wire::PairKind kind) override;
  void EndRun(const NodeId& peer) override { invitation_.End(peer); }
  wire::PairRefused OnWrongCode(const NodeId& peer, wire::PairKind kind) override;
  net::PairInviter::Answer<wire::TrustUpdate> OnRightCode(const NodeId& peer, wire::PairKind kind,
                                                          const std::string& name) override;
  net::PairInviter::Answer<wire::TrustUpdate> OnAsk(const NodeId& peer,
                                                    const std::string& name) override;

 private:
  struct Asked {
    std::string name;
    Time seen{};
  };
  void Close();
  wire::TrustUpdate GrantFor(const NodeId& peer) const;

  TrustKeeper& trust_;
  AuditLog& audit_;
  net::Invitation invitation_;
  net::Timer end_;
  std::function<void()> ended_;
  std::map<NodeId, Asked> pending_;
};

}  // namespace exo::node
