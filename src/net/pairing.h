// How a new device is let in by a code that its user reads off a member: the two ends as passive
// machines over messages, on a TLS connection of their own, before any Hello.
//
//   new device                                  inviting device
//   PairStart(kind, share, name)  ->          is there an invitation of this kind?
//                                 <-          PairShare(share)
//   PairConfirm(tag)              ->          tag right? else a try is used up
//                                 <-          PairGrant(tag, sealed trust)
//   tag right? unseal
//
// The new device shows first that it knows the code: a stranger that tries one gets no tag to test
// further guesses on, and one that answers in the place of the inviting device has one guess. The
// code goes through CPace (net/cpace.h), with the keys of both devices and the TLS connection in
// it: nothing can be relayed, reflected or replayed. Instead of any message the inviting device may
// say PairRefused and end. A device that only asks (PairKind::kAsk) says PairStart without a share
// and gets PairGrant in clear, within TLS, once its key was approved; it takes that from the one
// key that its user has compared.
//
// Thread: the connection's. Owner: the connection.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "net/cpace.h"
#include "net/secret.h"
#include "wire/messages.h"

namespace exo::net {

// The side of the member.
class PairInviter {
 public:
  template <class T>
  using Answer = std::expected<T, wire::PairRefused>;

  // What only the owner knows: the invitation that is open, and what it gives.
  class Gate {
   public:
    virtual ~Gate() = default;
    // The code of the open invitation. EndRun follows.
    virtual Answer<std::string> BeginRun(const NodeId& peer, wire::PairKind kind) = 0;
    virtual void EndRun(const NodeId& peer) = 0;
    virtual wire::PairRefused OnWrongCode(const NodeId& peer, wire::PairKind kind) = 0;
    // The code was right: `peer` is a member from now on.
    virtual Answer<wire::TrustUpdate> OnRightCode(const NodeId& peer, wire::PairKind kind,
                                                  const std::string& name) = 0;
    // It asks without a code.
    virtual Answer<wire::TrustUpdate> OnAsk(const NodeId& peer, const std::string& name) = 0;
  };

  // References outlive the object.
  PairInviter(const SecureChannel& channel, const NodeId& self, Gate& gate)
      : channel_(channel), self_(self), gate_(gate) {}
  ~PairInviter();
  PairInviter(const PairInviter&) = delete;
  PairInviter& operator=(const PairInviter&) = delete;

  // Takes a message, returns what to say.
  wire::Message On(const wire::Message& message);
  // The last message was said.
  bool done() const { return done_; }

 private:
  wire::Message OnStart(const wire::PairStart& start);
  wire::Message OnConfirm(const wire::PairConfirm& confirm);
  wire::Message Refuse(wire::PairRefused refusal);

  const SecureChannel channel_;
  const NodeId self_;
  Gate& gate_;
  wire::PairStart start_;
  std::optional<Cpace> cpace_;
  bool running_ = false;  // BeginRun was called
  bool done_ = false;
};

// The side of the new device.
class PairJoiner {
 public:
  enum class State { kGoing, kPaired, kRefused };
  struct Ask {
    wire::PairKind kind = wire::PairKind::kCode;
    std::string code;  // what was typed in, or the link's secret
    std::string name;  // of this device
  };

  PairJoiner(const SecureChannel& channel, const NodeId& self, Ask ask);

  wire::Message Begin() const;
  // Takes a message, returns what to say, if anything.
  std::optional<wire::Message> On(const wire::Message& message);

  State state() const { return state_; }
  // For kPaired: what the inviting device gave.
  const wire::TrustUpdate& trust() const { return trust_; }
  // For kRefused, here or there.
  const wire::PairRefused& refusal() const { return refusal_; }

 private:
  void Refuse(std::string reason);
  void OnGrant(const wire::PairGrant& grant);

  const Ask ask_;
  std::optional<Cpace> cpace_;  // none for a device that only asks
  bool confirmed_ = false;
  State state_ = State::kGoing;
  wire::TrustUpdate trust_;
  wire::PairRefused refusal_;
};

}  // namespace exo::net
