// What strangers do to the peer port: floods, slow handshakes, garbage, old TLS, replayed proofs.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/random.h"
#include "net/admission.h"
#include "net/frame_buffer.h"
#include "net/invitation.h"
#include "net/pair_call.h"
#include "net/socket.h"
#include "net/test_node.h"
#include "wire/codec.h"
#include "wire/limits.h"

namespace exo::net::test {
namespace {

Fd RawConnect(const TestNode& node) {
  auto fd = BeginConnect(node.address(), "");
  EXPECT_TRUE(fd);
  pollfd poll{fd->get(), POLLOUT, 0};
  EXPECT_GT(PollUntil(&poll, 1, Patiently()), 0);
  EXPECT_EQ(ConnectError(fd->get()), 0);
  return std::move(*fd);
}

// Waits until the other side has closed; what it sent before goes to *received.
bool Closed(int fd, Time deadline, std::string* received = nullptr) {
  for (;;) {
    pollfd poll{fd, POLLIN, 0};
    if (PollUntil(&poll, 1, deadline) == 0) return false;
    char bytes[4096];
    const ssize_t got = ::recv(fd, bytes, sizeof(bytes), 0);
    if (got <= 0) return true;
    if (received != nullptr) received->append(bytes, static_cast<size_t>(got));
  }
}

// A node still takes a member after whatever happened.
void ExpectAlive(TestNode& node, const std::string& secret) {
  TestNode friendly({.secret = secret});
  friendly.Connect(node);
  EXPECT_TRUE(friendly.WaitUp(node.id()));
}

TEST(HostileTest, GarbageClosesTheConnection) {
  const std::string secret = NewSecret();
  TestNode node({.secret = secret});
  Rng rng(4);
  for (int i = 0; i < 20; ++i) {
    const Fd fd = RawConnect(node);
    std::string garbage = i == 0 ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n" : "";
    for (uint64_t n = 600 + rng.Below(2000); n > 0; --n) garbage += static_cast<char>(rng.Next());
    ::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(Closed(fd.get(), Patiently()));
  }
  ExpectAlive(node, secret);
}

TEST(HostileTest, OldTlsAndMissingKeysAreRefused) {
  const std::string secret = NewSecret();
  TestNode node({.secret = secret});
  for (const bool old : {true, false}) {
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    if (old) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    const Fd fd = RawConnect(node);
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, fd.get());
    SSL_set_connect_state(ssl);
    bool failed = false;
    for (const Time deadline = Patiently(); sys::Now() < deadline && !failed;) {
      char byte = 0;
      const int result = SSL_read(ssl, &byte, 1);
      ASSERT_LE(result, 0) << "a stranger read something";
      const int error = SSL_get_error(ssl, result);
      failed = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
      pollfd poll{fd.get(), POLLIN, 0};
      PollUntil(&poll, 1, In(10));
    }
    EXPECT_TRUE(failed) << (old ? "TLS 1.2" : "no certificate");
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  ExpectAlive(node, secret);
}

TEST(HostileTest, SlowHandshakesAreLimitedAndEnd) {
  const std::string secret = NewSecret();
  TestNode node({.secret = secret});
  std::vector<Fd> slow;
  for (uint32_t i = 0; i < 2 * Admission::kAtOnce; ++i) slow.push_back(RawConnect(node));
  // Those over the limit are closed at once, the others after the handshake's deadline.
  const auto closed = [&] {
    return static_cast<size_t>(
        std::ranges::count_if(slow, [](const Fd& fd) { return Closed(fd.get(), In(1)); }));
  };
  const auto closed_in_time = [&](size_t count) {
    for (const Time deadline = Patiently(); closed() < count;) {
      if (sys::Now() > deadline) return false;
    }
    return true;
  };
  EXPECT_TRUE(closed_in_time(Admission::kAtOnce));
  EXPECT_LT(closed(), slow.size());
  EXPECT_TRUE(closed_in_time(slow.size()));
  ExpectAlive(node, secret);
}

TEST(HostileTest, AdmissionCountsPerSourceAndInTotal) {
  Admission admission;
  const Time now = std::chrono::hours(1);
  for (uint32_t i = 0; i < Admission::kAtOncePerSource; ++i)
    EXPECT_TRUE(admission.Enter("10.0.0.1", now));
  EXPECT_FALSE(admission.Enter("10.0.0.1", now));
  EXPECT_TRUE(admission.Enter("10.0.0.2", now));
  for (uint32_t i = 0; i < Admission::kAtOncePerSource; ++i) admission.Done("10.0.0.1");
  // Four places of this second's twenty are left, then time must pass.
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(admission.Enter("10.0.0.1", now));
    admission.Done("10.0.0.1");
  }
  EXPECT_FALSE(admission.Enter("10.0.0.1", now));
  EXPECT_TRUE(admission.Enter("10.0.0.1", now + std::chrono::milliseconds(60)));
  // Any number of sources does not take any amount of memory or places.
  int entered = 0;
  for (int i = 0; i < 5000; ++i)
    entered += admission.Enter(fmt::format("10.1.{}.{}", i / 256, i % 256), now);
  EXPECT_LE(entered, 64);
}

// A peer that does TLS right and then says what it likes.
class Stranger {
 public:
  explicit Stranger(const TestNode& node) : identity_(*Identity::Create()) {
    stream_ = std::make_unique<TlsStream>(*identity_, RawConnect(node), ProofSide::kInitiator);
    while (stream_->Handshake() != TlsStream::Step::kDone) Wait();
  }
  void Say(std::span<const std::byte> bytes) {
    size_t sent = 0;
    while (!bytes.empty() && stream_->Write(bytes, &sent) == TlsStream::Step::kDone)
      bytes = bytes.subspan(sent);
    stream_->Flush();
  }
  void Say(const wire::Message& message) { Say(wire::EncodeFrame(message, sequence_++)); }
  // Everything the node says until it closes.
  std::vector<wire::Message> Listen() {
    std::vector<wire::Message> heard;
    FrameBuffer buffer;
    for (const Time deadline = Patiently(); sys::Now() < deadline;) {
      uint64_t budget = UINT64_MAX;
      const auto state = buffer.Fill(*stream_, 1 << 20, heard.size(), &budget);
      if (!state || *state == FrameBuffer::State::kClosed) return heard;
      if (*state == FrameBuffer::State::kMore) {
        Wait();
        continue;
      }
      heard.push_back(*wire::DecodeMessage(buffer.header().type, buffer.metadata()));
      buffer.Clear();
    }
    ADD_FAILURE() << "not closed";
    return heard;
  }
  const TlsStream& stream() const { return *stream_; }
  const Identity& identity() const { return *identity_; }

 private:
  void Wait() {
    pollfd poll{stream_->fd(), POLLIN, 0};
    PollUntil(&poll, 1, In(50));
  }
  std::unique_ptr<Identity> identity_;
  std::unique_ptr<TlsStream> stream_;
  uint64_t sequence_ = 0;
};

void ExpectOnlyARefusal(const std::vector<wire::Message>& heard) {
  ASSERT_EQ(heard.size(), 1u);
  const auto* reply = std::get_if<wire::HelloReply>(&heard[0]);
  ASSERT_NE(reply, nullptr);
  EXPECT_FALSE(reply->accepted);
  EXPECT_EQ(reply->code, wire::RefusalCode::kNotMember);
}

TEST(HostileTest, StrangerHearsNothingButTheRefusal) {
  TestNode node({.name = "living room", .secret = NewSecret()});
  {
    Stranger stranger(node);
    stranger.Say(wire::Hello{.name = "let me in"});
    ExpectOnlyARefusal(stranger.Listen());
  }
  {
    Stranger stranger(node);
    stranger.Say(wire::HelloReply{.accepted = true});
    ExpectOnlyARefusal(stranger.Listen());
  }
  {
    Stranger stranger(node);
    stranger.Say(wire::Submit{});
    ExpectOnlyARefusal(stranger.Listen());
  }
  {
    // Silence, then an end: not even a refusal.
    Stranger stranger(node);
    ::shutdown(stranger.stream().fd(), SHUT_WR);
    EXPECT_TRUE(stranger.Listen().empty());
  }
  EXPECT_TRUE(node.ups.empty());
}

TEST(HostileTest, ProofsCannotBeBorrowed) {
  const std::string text = NewSecret();
  const auto secret = *ClusterSecret::Parse(text);
  TestNode node({.secret = text});
  const auto attempt = [&](ProofSide side, bool other_connection) {
    Stranger stranger(node);
    auto exporter = stranger.stream().Exporter();
    if (other_connection) exporter[0] ^= 1;
    const auto proof = secret->Proof(side, exporter, stranger.identity().id(), node.id());
    wire::Hello hello;
    hello.proof.assign(proof.begin(), proof.end());
    stranger.Say(hello);
    if (side == ProofSide::kInitiator && !other_connection) {
      // The right proof: the node shows itself now. The full Hello differs in numerics or not: end
      // here.
      stranger.Say(wire::Goodbye{});
      const auto heard = stranger.Listen();
      ASSERT_GE(heard.size(), 2u);
      EXPECT_TRUE(std::holds_alternative<wire::Hello>(heard[0]));
      return;
    }
    ExpectOnlyARefusal(stranger.Listen());
  };
  attempt(ProofSide::kInitiator, true);  // of another connection
  attempt(ProofSide::kListener, false);  // of the other side: an echo
  attempt(ProofSide::kInitiator, false);
}

TEST(HostileTest, LargeOrBrokenFramesBeforeTheHandshakeEndIt) {
  const std::string secret = NewSecret();
  TestNode node({.secret = secret});
  for (int kind = 0; kind < 3; ++kind) {
    Stranger stranger(node);
    auto frame = wire::EncodeFrame(wire::Hello{}, 0);
    if (kind == 0) frame[11] = std::byte{0x40};  // a gigabyte of metadata
    if (kind == 1) frame[24] = std::byte{5};     // a sequence number out of turn
    if (kind == 2) std::fill(frame.begin() + 32, frame.end(), std::byte{0xee});
    stranger.Say(frame);
    EXPECT_TRUE(stranger.Listen().empty());
  }
  ExpectAlive(node, secret);
}

TEST(HostileTest, FloodOfConnectionsLeavesTheLoopResponsive) {
  const std::string secret = NewSecret();
  TestNode node({.secret = secret}), member({.secret = secret});
  member.Connect(node);
  ASSERT_TRUE(member.WaitUp(node.id()));
  ASSERT_TRUE(node.WaitUp(member.id()));
  for (int i = 0; i < 300; ++i) (void)RawConnect(node);
  EXPECT_TRUE(member.Send(node.id(), wire::Goodbye{"still here"}));
  EXPECT_TRUE(node.Wait([&] { return !node.messages.empty(); }));
  EXPECT_TRUE(node.IsUp(member.id()));
}

// A device that invites, over real connections.
class OneCode final : public PairInviter::Gate {
 public:
  PairInviter::Answer<std::string> BeginRun(const NodeId& peer, wire::PairKind kind) override {
    return invitation.Begin(peer, kind, sys::Now());
  }
  void EndRun(const NodeId& peer) override { invitation.End(peer); }
  wire::PairRefused OnWrongCode(const NodeId&, wire::PairKind kind) override {
    return invitation.OnWrong(kind);
  }
  PairInviter::Answer<wire::TrustUpdate> OnRightCode(const NodeId&, wire::PairKind,
                                                     const std::string&) override {
    return wire::TrustUpdate{.secret = std::vector<uint8_t>(wire::kClusterSecretBytes, 5)};
  }
  PairInviter::Answer<wire::TrustUpdate> OnAsk(const NodeId&, const std::string&) override {
    return std::unexpected(wire::PairRefused{.code = wire::PairRefusal::kPending});
  }
  Invitation invitation;
};

TEST(HostileTest, PairingTakesTheCodeAndNothingElse) {
  OneCode gate;
  TestNode node({.secret = NewSecret(), .pairing = &gate});
  const auto identity = *Identity::Create();
  const auto call = [&](const std::string& code, std::optional<NodeId> expected = std::nullopt) {
    return CallToPair(*identity, {.address = node.address(),
                                  .ask = {.code = code, .name = "new"},
                                  .expected = expected,
                                  .deadline = Patiently()});
  };
  EXPECT_EQ(call("123456")->refusal->code, wire::PairRefusal::kNotInviting);
  node.thread().On([&] { gate.invitation.Open(wire::TrustRole::kMember, sys::Now()); });
  const std::string code = gate.invitation.code(sys::Now());
  EXPECT_EQ(call("x")->refusal->code, wire::PairRefusal::kWrongCode);
  EXPECT_EQ(call(code, identity->id()).error().code, ErrorCode::kInvalid) << "another key";
  const auto paired = call(code);
  ASSERT_TRUE(paired && !paired->refusal);
  EXPECT_EQ(paired->peer, node.id());
  EXPECT_EQ(paired->trust.secret.size(), wire::kClusterSecretBytes);
  // Later than the first message, or instead of the right one, it is a message out of turn.
  Stranger late(node);
  late.Say(wire::Hello{.name = "let me in"});
  ExpectOnlyARefusal(late.Listen());
  Stranger flood(node);
  flood.Say(wire::PairStart{.kind = wire::PairKind::kAsk});
  flood.Say(wire::PairStart{.kind = wire::PairKind::kAsk});
  EXPECT_EQ(flood.Listen().size(), 1u);
  EXPECT_TRUE(node.ups.empty());
}

TEST(HostileTest, ANodeThatLetsNobodyInRefusesToPair) {
  TestNode node({.secret = NewSecret()});
  Stranger stranger(node);
  stranger.Say(wire::PairStart{});
  ExpectOnlyARefusal(stranger.Listen());
}

}  // namespace
}  // namespace exo::net::test
