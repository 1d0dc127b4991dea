// Sessions of two and three nodes over real loopback sockets.
#include "net/peers.h"

#include <gtest/gtest.h>

#include "net/socket.h"
#include "net/test_node.h"

namespace exo::net::test {
namespace {

using wire::RefusalCode;

TEST(PeersTest, AcceptsByProofAndAdmits) {
  const std::string secret = NewSecret();
  TestNode a({.name = "a", .secret = secret}), b({.name = "b", .secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  ASSERT_TRUE(b.WaitUp(a.id()));
  EXPECT_EQ(a.hellos[b.id()].name, "b");
  EXPECT_EQ(b.hellos[a.id()].name, "a");
  EXPECT_TRUE(b.hellos[a.id()].proof.empty());
  EXPECT_TRUE(a.thread().On([&] { return a.trust.trusted.contains(b.id()); }));
  EXPECT_TRUE(b.thread().On([&] { return b.trust.trusted.contains(a.id()); }));
  EXPECT_TRUE(a.Send(b.id(), wire::Goodbye{"hello"}));
  ASSERT_TRUE(b.Wait([&] { return !b.messages.empty(); }));
  EXPECT_EQ(std::get<wire::Goodbye>(b.messages[0]).reason, "hello");
  // Both know where the other listens from now on.
  const auto addresses = b.thread().On([&] { return b.peers().AddressesOf(a.id()); });
  EXPECT_EQ(addresses, std::vector{a.address()});
}

TEST(PeersTest, AcceptsByTrustSetWithoutASecret) {
  TestNode a({}), b({});
  a.thread().On([&] { a.trust.trusted.insert(b.id()); });
  b.thread().On([&] { b.trust.trusted.insert(a.id()); });
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  ASSERT_TRUE(b.WaitUp(a.id()));
  EXPECT_EQ(a.thread().On([&] { return a.trust.admitted; }), 0);
}

TEST(PeersTest, RefusesStrangersOnBothSides) {
  TestNode a({.secret = NewSecret()}), b({.secret = NewSecret()});
  a.Connect(b);
  ASSERT_TRUE(a.Wait([&] { return !a.refusals.empty(); }));
  ASSERT_TRUE(b.Wait([&] { return !b.refusals.empty(); }));
  EXPECT_EQ(a.refusals[0].code, RefusalCode::kNotMember);
  EXPECT_TRUE(a.refusals[0].by_peer);
  EXPECT_FALSE(b.refusals[0].by_peer);
  EXPECT_EQ(b.refusals[0].id, a.id());
  EXPECT_NE(a.refusals[0].reason.find("exo invite"), std::string::npos);
  EXPECT_TRUE(a.ups.empty());
  EXPECT_TRUE(b.ups.empty());
}

TEST(PeersTest, StrangerThatIsConnectedToGetsARefusalToo) {
  // b would take a (a is in its trust set), but is itself unknown to a.
  TestNode a({}), b({});
  b.thread().On([&] { b.trust.trusted.insert(a.id()); });
  a.Connect(b);
  ASSERT_TRUE(a.Wait([&] { return !a.refusals.empty(); }));
  ASSERT_TRUE(b.Wait([&] { return !b.refusals.empty(); }));
  EXPECT_FALSE(a.refusals[0].by_peer);
  EXPECT_TRUE(b.refusals[0].by_peer);
}

TEST(PeersTest, RefusesAnotherArithmetic) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret, .numerics = {{1}}}), b({.secret = secret, .numerics = {{2}}});
  a.Connect(b);
  ASSERT_TRUE(a.Wait([&] { return !a.refusals.empty(); }));
  ASSERT_TRUE(b.Wait([&] { return !b.refusals.empty(); }));
  EXPECT_EQ(a.refusals[0].code, RefusalCode::kNumerics);
  EXPECT_EQ(b.refusals[0].code, RefusalCode::kNumerics);
  EXPECT_NE(a.refusals[0].reason.find("same version"), std::string::npos);
}

TEST(PeersTest, RefusesWithoutACommonVersion) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret, .protocols = {7, 9}}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.Wait([&] { return !a.refusals.empty(); }));
  EXPECT_EQ(a.refusals[0].code, RefusalCode::kVersion);
  EXPECT_EQ(a.refusals[0].protocols, wire::kProtocols) << "of the other one, which refused";
  EXPECT_EQ(a.refusals[0].reason,
            "it speaks protocol 3, this device protocols 7 to 9: update exo on it");
  ASSERT_TRUE(b.Wait([&] { return !b.refusals.empty(); }));
  EXPECT_EQ(b.refusals[0].protocols, (wire::Protocols{7, 9}));
  EXPECT_EQ(b.refusals[0].reason,
            "it speaks protocols 7 to 9, this device protocol 3: update exo on this device");
}

// The handshake's messages are those of version 1, so each side reads why.
TEST(PeersTest, RefusesEarlierVersionsWithAReasonForBothSides) {
  const std::string secret = NewSecret();
  for (const uint32_t version : {1u, 2u}) {
    TestNode old({.secret = secret, .protocols = {version, version}});
    TestNode current({.secret = secret});
    old.Connect(current);
    ASSERT_TRUE(old.Wait([&] { return !old.refusals.empty(); }));
    ASSERT_TRUE(current.Wait([&] { return !current.refusals.empty(); }));
    for (const auto* refusals : {&old.refusals, &current.refusals}) {
      EXPECT_EQ((*refusals)[0].code, RefusalCode::kVersion);
      EXPECT_NE((*refusals)[0].reason.find("protocol " + std::to_string(version)),
                std::string::npos);
      EXPECT_NE((*refusals)[0].reason.find("update exo"), std::string::npos);
    }
  }
}

TEST(PeersTest, BothConnectAtOnceAndOneSessionStays) {
  for (int round = 0; round < 10; ++round) {
    const std::string secret = NewSecret();
    TestNode a({.secret = secret}), b({.secret = secret});
    std::thread other([&] { b.Connect(a); });
    a.Connect(b);
    other.join();
    ASSERT_TRUE(a.WaitUp(b.id()));
    ASSERT_TRUE(b.WaitUp(a.id()));
    // A message each way proves that both mean the same connection.
    EXPECT_TRUE(a.Send(b.id(), wire::Goodbye{"a"}));
    EXPECT_TRUE(b.Send(a.id(), wire::Goodbye{"b"}));
    EXPECT_TRUE(a.Wait([&] { return a.messages.size() == 1; }));
    EXPECT_TRUE(b.Wait([&] { return b.messages.size() == 1; }));
    const MutexLock lock(a.mutex);
    EXPECT_EQ(a.ups[b.id()], 1) << "round " << round;
    EXPECT_EQ(a.downs[b.id()], 0) << a.reasons[b.id()];
  }
}

TEST(PeersTest, TwoAddressesOfOnePeerGiveOneSession) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.thread().On([&] {
    a.peers().AddHint(b.address());
    a.peers().AddHint({"127.0.0.2", b.address().port});  // nobody listens there
    ASSERT_TRUE(a.peers().AddStaticPeer(fmt::format("localhost:{}", b.address().port)));
  });
  ASSERT_TRUE(a.WaitUp(b.id()));
  EXPECT_TRUE(a.Send(b.id(), wire::Goodbye{"x"}));
  EXPECT_TRUE(b.Wait([&] { return !b.messages.empty(); }));
  EXPECT_EQ(a.ups[b.id()], 1);
  EXPECT_EQ(b.ups[a.id()], 1);
}

TEST(PeersTest, DropsAConnectionToItself) {
  TestNode a({.secret = NewSecret()}), b({.secret = NewSecret()});
  a.Connect(a);
  a.Connect(b);  // something to wait for
  ASSERT_TRUE(a.Wait([&] { return !a.refusals.empty(); }));
  EXPECT_TRUE(a.ups.empty());
  EXPECT_EQ(a.refusals.size(), 1u);
  EXPECT_EQ(a.refusals[0].id, b.id());
}

TEST(PeersTest, ConnectsAgainAfterADrop) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  ASSERT_TRUE(b.WaitUp(a.id()));
  b.thread().On([&] { b.peers().Close(a.id(), "test"); });
  ASSERT_TRUE(a.Wait([&] { return a.ups[b.id()] == 2; }));
  ASSERT_TRUE(b.Wait([&] { return b.ups[a.id()] == 2; }));
  EXPECT_EQ(b.reasons[a.id()], "test");
  EXPECT_TRUE(a.IsUp(b.id()));
}

TEST(PeersTest, GoodbyeArrivesBeforeTheEndAndNobodyCallsBack) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret});
  for (int round = 1; round <= 20; ++round) {
    TestNode b({.secret = secret});
    const bool outward = round % 2 == 0;
    outward ? a.Connect(b) : b.Connect(a);
    ASSERT_TRUE(a.WaitUp(b.id()));
    ASSERT_TRUE(b.WaitUp(a.id()));
    std::promise<void> left;
    b.thread().On([&] {
      // Both sides are talking at that moment.
      for (int i = 0; i < 50; ++i) b.peers().Send(a.id(), wire::Heartbeat{});
      b.peers().Send(a.id(), wire::Goodbye{"bye"});
      b.peers().Leave([&] { left.set_value(); });
    });
    for (int i = 0; i < 50; ++i) a.Send(b.id(), wire::Heartbeat{});
    // As the core does when it has the goodbye.
    ASSERT_TRUE(a.Wait([&] { return a.messages.size() == 51u * static_cast<size_t>(round); }));
    EXPECT_TRUE(std::holds_alternative<wire::Goodbye>(a.messages.back()));
    a.thread().On([&] { a.peers().Close(b.id(), "left"); });
    left.get_future().wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // longer than a reconnect takes
    const MutexLock lock(a.mutex);
    EXPECT_EQ(a.ups[b.id()], 1) << "round " << round;
    EXPECT_EQ(a.downs[b.id()], 1);
  }
}

TEST(PeersTest, LeavingEndsInTimeWhenAPeerDoesNotRead) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  std::promise<void> go_on, left;
  a.thread().loop().Post([&] { go_on.get_future().wait(); });
  b.thread().On([&] { b.peers().Leave([&] { left.set_value(); }); });
  // The other one goes on only after that.
  EXPECT_EQ(left.get_future().wait_for(kPatience), std::future_status::ready);
  go_on.set_value();
}

TEST(PeersTest, ANodeThatLeavesAdmitsNobody) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  std::promise<void> left;
  b.thread().On([&] { b.peers().Leave([&] { left.set_value(); }); });
  left.get_future().wait();
  const auto fd = BeginConnect(b.address(), "");
  if (!fd) return;  // refused at once
  pollfd poll;
  poll.fd = fd->get();
  poll.events = POLLOUT;
  (void)PollUntil(&poll, 1, In(1000));
  EXPECT_NE(ConnectError(fd->get()), 0);
}

TEST(PeersTest, RestartedPeerComesBack) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret});
  auto b = std::make_unique<TestNode>(NodeOptions{.secret = secret, .boot_nonce = 1});
  const uint16_t port = b->address().port;
  a.Connect(*b);
  const NodeId first = b->id();
  ASSERT_TRUE(a.WaitUp(first));
  b.reset();
  ASSERT_TRUE(a.Wait([&] { return a.downs[first] == 1; }));
  // Another device at the same address, of the same cluster.
  b = std::make_unique<TestNode>(NodeOptions{.secret = secret, .boot_nonce = 2, .port = port});
  ASSERT_TRUE(a.WaitUp(b->id()));
}

TEST(PeersTest, RevokedKeyIsCutAtOnceAndStaysOut) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  ASSERT_TRUE(b.WaitUp(a.id()));
  a.thread().On([&] {
    a.trust.revoked.insert(b.id());
    a.peers().Revoke(b.id());
  });
  EXPECT_FALSE(a.IsUp(b.id()));
  ASSERT_TRUE(a.Wait([&] { return a.downs[b.id()] == 1; }));
  EXPECT_EQ(a.reasons[b.id()], "revoked");
  // b connects again by itself and proves the secret: to no avail.
  ASSERT_TRUE(b.Wait([&] { return !b.refusals.empty(); }));
  EXPECT_TRUE(b.refusals[0].by_peer);
  EXPECT_EQ(a.ups[b.id()], 1);
}

TEST(PeersTest, CopiedKeyIsRefusedWhileTheOriginalTalks) {
  const std::string secret = NewSecret();
  const std::string folder = testing::TempDir() + "exo-net-clone";
  TestNode a({.secret = secret});
  TestNode b({.secret = secret, .boot_nonce = 1}, *Identity::LoadOrCreate(folder));
  b.Connect(a);
  ASSERT_TRUE(a.WaitUp(b.id()));
  TestNode copy({.secret = secret, .boot_nonce = 2}, *Identity::LoadOrCreate(folder));
  copy.Connect(a);
  ASSERT_TRUE(copy.Wait([&] { return !copy.refusals.empty(); }));
  EXPECT_EQ(copy.refusals[0].code, RefusalCode::kKeyInUse);
  EXPECT_TRUE(a.IsUp(b.id()));
  EXPECT_EQ(a.ups[b.id()], 1);
}

TEST(PeersTest, OverflowOfTheQueueEndsTheSession) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  wire::Submit large;
  large.prompt.resize(wire::kMaxControlFrame / 4 - 1000);
  // b's loop is held up, so that it cannot read.
  std::promise<void> go_on;
  b.thread().loop().Post([&] { go_on.get_future().wait(); });
  bool overflow = false;
  for (int i = 0; i < 16 && !overflow; ++i) overflow = !a.Send(b.id(), large);
  EXPECT_TRUE(overflow);
  EXPECT_TRUE(a.Wait([&] { return a.downs[b.id()] == 1; }));
  EXPECT_NE(a.reasons[b.id()].find("queue"), std::string::npos);
  go_on.set_value();
}

TEST(PeersTest, ThreeNodesMakeAMesh) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret}), c({.secret = secret});
  a.Connect(b);
  b.Connect(c);
  c.Connect(a);
  for (TestNode* node : {&a, &b, &c}) {
    for (TestNode* other : {&a, &b, &c}) {
      if (node != other) {
        EXPECT_TRUE(node->WaitUp(other->id()));
      }
    }
  }
}

TEST(PeersTest, TellsWhichWayASessionTakes) {
  const std::string secret = NewSecret();
  TestNode a({.secret = secret}), b({.secret = secret});
  a.Connect(b);
  ASSERT_TRUE(a.WaitUp(b.id()));
  ASSERT_TRUE(b.WaitUp(a.id()));
  for (auto [from, to] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    const auto path = from->thread().On([&] { return from->peers().PathOf(to->id()); });
    ASSERT_TRUE(path);
    EXPECT_EQ(*path, (Peers::Path{"127.0.0.1", "127.0.0.1"}));
  }
  EXPECT_FALSE(a.thread().On([&] { return a.peers().PathOf(a.id()); }));
}

}  // namespace
}  // namespace exo::net::test
