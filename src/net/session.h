// One connection of a peer from the first byte to the last: TLS, handshake, then control messages
// or the hand-over to a data link; of an accepted connection instead of all that the pairing of a
// new device. Decisions that need to know the other sessions are the host's
// (net/peers.cc).
//
// Thread: loop. Owner: Peers; destroyed from the loop, never inside a callback.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "net/connection.h"
#include "net/handshake.h"
#include "net/pairing.h"

namespace exo::net {

class Session final : private Connection::Owner, private Handshake::Gate {
 public:
  // TLS and handshake together (reliability.md 2.4); a slow phone needs 0.1 s.
  static constexpr Time kHandshakeTimeout = std::chrono::seconds(5);

  enum class Phase {
    kTls,
    kHandshake,
    kPending,  // initiator: has accepted, waits for the listener's acceptance
    kUp,
    kHandover,  // accepted data link: waits until the acceptance is sent
    kEnded,
  };

  class Host {
   public:
    virtual ~Host() = default;
    // The key is known. False: close without an answer (this node itself, or a needless second
    // connection).
    virtual bool OnKey(Session& session) = 0;
    virtual std::optional<wire::HelloReply> CheckMember(Session& session, bool proven) = 0;
    virtual std::optional<wire::HelloReply> Decide(Session& session, const wire::Hello& hello) = 0;
    // Accepted by both sides.
    virtual void OnAccepted(Session& session) = 0;
    virtual void OnLinkReady(Session& session, std::unique_ptr<DataLink> link) = 0;
    virtual void OnMessage(Session& session, wire::Message message) = 0;
    // The session is over and may be destroyed (later). `was`: the phase in which it ended.
    virtual void OnEnd(Session& session, Phase was, const std::string& reason) = 0;
  };
  struct Setup {
    EventLoop& loop;
    const Identity& identity;
    std::shared_ptr<const ClusterSecret> secret;  // null: members by trust set only
    PairInviter::Gate* pairing;                   // null: no device is ever invited
    Host& host;
  };

  // `target`: where this side connected to; empty for accepted connections.
  Session(const Setup& setup, Fd fd, wire::Hello hello, std::optional<wire::Address> target);

  void Start() { connection_.Start(); }
  bool Send(const wire::Message& message) { return connection_.Send(message); }
  // Ends at once without OnEnd.
  void Abort();
  // Sends what is queued and ends in good order; OnEnd follows. Nothing is received any more.
  void CloseWhenSent() { connection_.CloseWhenSent(); }

  Phase phase() const { return phase_; }
  ProofSide side() const { return side_; }
  bool initiated() const { return side_ == ProofSide::kInitiator; }
  const NodeId& peer() const { return peer_; }         // zero before OnKey
  const wire::Hello& hello() const { return hello_; }  // the peer's, once decided
  const std::optional<wire::Address>& target() const { return target_; }
  const wire::Address& remote() const { return remote_; }
  const wire::Address& local() const { return local_; }
  bool proven() const { return handshake_ && handshake_->proven(); }
  // What the peer speaks; newest 0: it has not said.
  wire::Protocols peer_protocols() const {
    return handshake_ ? handshake_->peer_protocols() : wire::Protocols{};
  }
  // Set when the handshake ended in a refusal.
  const std::optional<wire::HelloReply>& refusal() const { return refusal_; }
  bool refused_by_peer() const { return refused_by_peer_; }
  Time up_since() const { return up_since_; }
  Time last_heard() const { return last_heard_; }
  // The peer said goodbye: the end of this session is no loss.
  bool said_goodbye() const { return said_goodbye_; }

 private:
  void OnTls() override;
  void OnFrame(wire::Message message) override;
  void OnSent() override;
  void OnClosed(const std::string& reason) override;
  std::optional<wire::HelloReply> CheckMember(const NodeId& peer, bool proven) override;
  std::optional<wire::HelloReply> Decide(const NodeId& peer, const wire::Hello& hello) override;
  void SendAll(const std::vector<wire::Message>& messages);
  void AfterHandshake();
  void Pair(const wire::Message& message);
  void End(const std::string& reason);

  const Setup setup_;
  const ProofSide side_;
  const std::optional<wire::Address> target_;
  const wire::Address remote_;
  const wire::Address local_;
  const wire::Hello own_hello_;
  Connection connection_;
  Timer deadline_;
  std::optional<Handshake> handshake_;
  std::optional<PairInviter> pairing_;  // instead of the handshake
  bool greeted_ = false;                // the first frame was received
  Phase phase_ = Phase::kTls;
  NodeId peer_;
  wire::Hello hello_;
  std::optional<wire::HelloReply> refusal_;
  bool refused_by_peer_ = false;
  bool said_goodbye_ = false;
  Time up_since_{};
  Time last_heard_{};
};

}  // namespace exo::net
