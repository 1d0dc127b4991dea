// The control sessions of this node: listens, connects, checks who is there, keeps one session per
// member. What the messages mean is the business of node/ and cluster/.
//
// Trust: a peer is a member when its key is in the trust set or it proves the cluster secret (then
// its key is put into the trust set); a revoked key never is. Until a peer has shown that it is a
// member it gets one refusal and nothing else (docs/protocol.md, Handshake).
//
// Thread: everything on the loop thread, callbacks too. Callbacks may call any method, also Close
// of the peer they are about. Owner: node.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/connect_link.h"
#include "net/event_loop.h"
#include "net/identity.h"
#include "net/pairing.h"
#include "net/secret.h"
#include "wire/messages.h"

namespace exo::net {

// Durable trust, implemented by node (StoredTrust). Revoked wins forever. Called on the loop
// thread; must not block for long.
class TrustStore {
 public:
  virtual ~TrustStore() = default;
  virtual bool IsTrusted(const NodeId& id) const = 0;
  virtual bool IsRevoked(const NodeId& id) const = 0;
  // A node proved the cluster secret. Not called for revoked keys.
  virtual void Admit(const NodeId& id, std::string_view name) = 0;
};

struct Refused {
  wire::Address address;
  std::optional<NodeId> id;  // unset when the handshake did not get that far
  wire::RefusalCode code = wire::RefusalCode::kNotMember;
  std::string reason;
  bool by_peer = false;       // they refused us; otherwise we refused them
  wire::Protocols protocols;  // what they speak; newest 0: not told
};

class PeerEvents {
 public:
  virtual ~PeerEvents() = default;
  // A session is up; `address` is where the peer listens (its source address, its
  // listen_port).
  virtual void OnUp(const NodeId& id, const wire::Hello& hello, const wire::Address& address) = 0;
  virtual void OnDown(const NodeId& id, const std::string& reason) = 0;
  virtual void OnMessage(const NodeId& id, wire::Message message) = 0;
  virtual void OnRefused(const Refused& refused) = 0;
  // A member asks for a data or bulk link: true, or false for the refusal kUnknownPlan.
  virtual bool WantsLink(const NodeId& id, const wire::Hello& hello) = 0;
  // The link of a WantsLink that said true; hand it to the thread that will own it.
  virtual void OnLink(std::unique_ptr<DataLink> link, const NodeId& id,
                      const wire::Hello& hello) = 0;
};

struct PeersOptions {
  std::string
      bind;  // numeric address to listen on and connect from; empty: every interface, IPv6 and IPv4
  uint16_t port = 0;  // 0: any free one
  wire::Hello self;   // name, version, numerics, boot_nonce; the rest is filled in
  PairInviter::Gate* pairing = nullptr;  // lets new devices in; outlives Peers. Null: nobody
};

class Peers {
 public:
  // Listens. `secret` may be null (members by trust set only). All references outlive the object.
  // Errors: kIo when the address or port cannot be taken.
  static Result<std::unique_ptr<Peers>> Start(EventLoop& loop, const Identity& identity,
                                              std::shared_ptr<const ClusterSecret> secret,
                                              TrustStore& trust, PeerEvents& events,
                                              PeersOptions options);
  virtual ~Peers() = default;

  virtual uint16_t port() const = 0;

  // Connects to "host:port", "[v6]:port" or "host" until it is up and again whenever it drops (1 to
  // 30 s, jitter). Errors: kInvalid when the text is no such thing.
  virtual Result<void> AddStaticPeer(std::string_view host_port) = 0;
  // Somebody may be there (discovery, remembered addresses): tried, and forgotten after some
  // failures.
  virtual void AddHint(const wire::Address& address) = 0;
  // The same with the expected id: not tried while a session with it is up.
  virtual void AddHint(const NodeId& id, const std::vector<wire::Address>& addresses) = 0;

  // Queues a message. False when there is no session, or when the queue overflows (the session is
  // then closed; OnDown follows from the loop, not from inside this call).
  virtual bool Send(const NodeId& id, const wire::Message& message) = 0;
  // Ends the session (OnDown follows from the loop) and connects again later when it has an
  // address.
  virtual void Close(const NodeId& id, std::string_view reason) = 0;
  // The key is not trusted any more, or revoked: cuts its session and handshakes at once, forgets
  // its addresses.
  virtual void Revoke(const NodeId& id) = 0;
  // What handshakes that begin from now on are proved by; who refused this node is tried again.
  // Sessions stay.
  virtual void SetSecret(std::shared_ptr<const ClusterSecret> secret) = 0;
  // Ends all sessions in good order: nobody is admitted or connected to any more, what is queued
  // (the goodbyes) is sent, and `done` is called once every peer has read it and closed, or after
  // kLeaveLimit. Call it last.
  static constexpr Time kLeaveLimit = std::chrono::milliseconds(300);
  virtual void Leave(std::function<void()> done) = 0;

  virtual bool IsUp(const NodeId& id) const = 0;
  virtual std::vector<NodeId> Up() const = 0;
  // Where a peer listens, best first: for ConnectLink.
  virtual std::vector<wire::Address> AddressesOf(const NodeId& id) const = 0;
  // Which way the session with a peer takes; unset: there is none.
  struct Path {
    std::string local, remote;  // numeric hosts
    friend bool operator==(const Path&, const Path&) = default;
  };
  virtual std::optional<Path> PathOf(const NodeId& id) const = 0;
  // The Hello to give to ConnectLink.
  virtual wire::Hello LinkHello(wire::Channel channel, const PlanId& plan) const = 0;
};

}  // namespace exo::net
