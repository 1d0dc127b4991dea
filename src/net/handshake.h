// Who may talk, as a passive machine over messages: fed with what the peer says, answers with what
// to send. Used by control connections (net/peers.cc, on the loop) and data links
// (net/tls_link.cc, in a thread).
//
//   initiator                                   listener
//   Hello(versions, proof)        ->          checks versions and membership
//                                 <-          Hello(versions, proof), Hello(full)
//   checks versions, membership, numerics
//   Hello(full), HelloReply(ok)   ->          checks numerics, duplicates, plan
//                                 <-          HelloReply(ok)
//
// Either side may say HelloReply(refused) instead and end. Nobody sends a full Hello before the
// other has shown that it is a member, so a stranger at either end learns versions of the protocol
// and a refusal.
//
// Thread: the connection's. Owner: the connection.
#pragma once

#include <optional>
#include <vector>

#include "net/secret.h"
#include "wire/messages.h"

namespace exo::net {

class Handshake {
 public:
  // What only the owner knows. Asked at most once each per handshake.
  class Gate {
   public:
    virtual ~Gate() = default;
    // Is this key a member? `proven`: it has shown that it holds the cluster secret. Empty: yes.
    virtual std::optional<wire::HelloReply> CheckMember(const NodeId& peer, bool proven) = 0;
    // The last check before this side accepts. Empty: yes.
    virtual std::optional<wire::HelloReply> Decide(const NodeId& peer,
                                                   const wire::Hello& hello) = 0;
  };
  enum class State { kGoing, kAccepted, kRefused, kRefusedByPeer };

  // `hello` is this side's full Hello. `secret` may be null. References outlive the object.
  Handshake(const SecureChannel& channel, const NodeId& self, const ClusterSecret* secret,
            wire::Hello hello, Gate& gate);

  // What to send before anything arrives.
  std::vector<wire::Message> Begin();
  // Takes a message, returns what to send. A message out of turn is a refusal.
  std::vector<wire::Message> On(const wire::Message& message);

  State state() const { return state_; }
  const wire::Hello& peer_hello() const { return peer_hello_; }
  bool proven() const { return proven_; }
  // What the peer speaks; newest 0: it has not said.
  const wire::Protocols& peer_protocols() const { return peer_protocols_; }
  // For kRefused and kRefusedByPeer.
  const wire::HelloReply& refusal() const { return refusal_; }

 private:
  using Messages = std::vector<wire::Message>;
  wire::Hello Opening() const;
  Messages OnOpening(const wire::Hello& hello);
  Messages OnFull(const wire::Hello& hello);
  Messages OnReply(const wire::HelloReply& reply);
  Messages Refuse(wire::HelloReply reply);
  Messages Refuse(wire::RefusalCode code, std::string reason);
  Messages RefuseVersion();
  bool initiator() const { return channel_.side == ProofSide::kInitiator; }

  const SecureChannel channel_;
  const NodeId self_;
  const ClusterSecret* secret_;
  const wire::Hello hello_;
  Gate& gate_;
  State state_ = State::kGoing;
  enum class Due { kOpening, kFull, kReply } due_ = Due::kOpening;
  wire::Protocols peer_protocols_;
  wire::Hello peer_hello_;
  wire::HelloReply refusal_;
  bool proven_ = false;
};

// The largest protocol version that both speak, or nothing.
std::optional<uint32_t> CommonVersion(const wire::Protocols& a, const wire::Protocols& b);

}  // namespace exo::net
