// The handshake as a machine: no TLS, no sockets, both ends in one thread.
#include "net/handshake.h"

#include <gtest/gtest.h>

#include <deque>

namespace exo::net {
namespace {

using wire::RefusalCode;

class OpenGate final : public Handshake::Gate {
 public:
  std::optional<wire::HelloReply> CheckMember(const NodeId&, bool proven) override {
    if (proven) return std::nullopt;
    return wire::HelloReply{.code = RefusalCode::kNotMember, .reason = "who are you?"};
  }
  std::optional<wire::HelloReply> Decide(const NodeId&, const wire::Hello&) override {
    return std::nullopt;
  }
};

struct Ends {
  Ends(const ClusterSecret* initiator_secret, const ClusterSecret* listener_secret,
       const std::array<uint8_t, 32>& listener_exporter = {7})
      : initiator({ProofSide::kInitiator, listener_id, {7}}, initiator_id, initiator_secret,
                  Named("i"), gate),
        listener({ProofSide::kListener, initiator_id, listener_exporter}, listener_id,
                 listener_secret, Named("l"), gate) {}
  static wire::Hello Named(const std::string& name) {
    wire::Hello hello;
    hello.name = name;
    return hello;
  }
  // Passes messages to and fro until both are silent.
  void Run() {
    std::deque<wire::Message> to_listener, to_initiator;
    const auto add = [](std::deque<wire::Message>& queue, std::vector<wire::Message> messages) {
      for (wire::Message& message : messages) queue.push_back(std::move(message));
    };
    add(to_listener, initiator.Begin());
    add(to_initiator, listener.Begin());
    while (!to_listener.empty() || !to_initiator.empty()) {
      auto& from = to_listener.empty() ? to_initiator : to_listener;
      const wire::Message message = std::move(from.front());
      from.pop_front();
      if (&from == &to_listener) {
        add(to_initiator, listener.On(message));
      } else {
        add(to_listener, initiator.On(message));
      }
    }
  }

  const NodeId initiator_id{{1}}, listener_id{{2}};
  OpenGate gate;
  Handshake initiator, listener;
};

TEST(HandshakeTest, BothAcceptWithOneSecret) {
  const auto secret = ClusterSecret::Create();
  Ends ends(secret.get(), secret.get());
  ends.Run();
  EXPECT_EQ(ends.initiator.state(), Handshake::State::kAccepted);
  EXPECT_EQ(ends.listener.state(), Handshake::State::kAccepted);
  EXPECT_TRUE(ends.initiator.proven() && ends.listener.proven());
  EXPECT_EQ(ends.initiator.peer_hello().name, "l");
  EXPECT_EQ(ends.listener.peer_hello().name, "i");
}

TEST(HandshakeTest, AProofOfAnotherConnectionIsWorthNothing) {
  const auto secret = ClusterSecret::Create();
  Ends ends(secret.get(), secret.get(), {8});  // a relay: two connections, two exporters
  ends.Run();
  EXPECT_EQ(ends.listener.state(), Handshake::State::kRefused);
  EXPECT_EQ(ends.initiator.state(), Handshake::State::kRefusedByPeer);
  EXPECT_EQ(ends.initiator.refusal().code, RefusalCode::kNotMember);
}

TEST(HandshakeTest, NobodyTellsAStrangerItsName) {
  const auto secret = ClusterSecret::Create();
  Ends ends(nullptr, secret.get());
  ends.Run();
  EXPECT_EQ(ends.initiator.state(), Handshake::State::kRefusedByPeer);
  EXPECT_EQ(ends.initiator.peer_hello().name, "");
  EXPECT_EQ(ends.listener.peer_hello().name, "");
}

TEST(HandshakeTest, AMessageOutOfTurnIsRefused) {
  const auto secret = ClusterSecret::Create();
  Ends ends(secret.get(), secret.get());
  const auto answer = ends.listener.On(wire::Heartbeat{});
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_FALSE(std::get<wire::HelloReply>(answer[0]).accepted);
  EXPECT_EQ(ends.listener.state(), Handshake::State::kRefused);
  EXPECT_TRUE(ends.listener.On(wire::Hello{}).empty());
}

}  // namespace
}  // namespace exo::net
