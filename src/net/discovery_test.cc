#include "net/discovery.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "net/beacon.h"
#include "net/test_node.h"

namespace exo::net::test {
namespace {

TEST(BeaconPacketTest, RoundTripAndNothingElse) {
  BeaconPacket packet{.reply = true, .port = 0x1234};
  for (size_t i = 0; i < packet.nonce.size(); ++i) packet.nonce[i] = static_cast<uint8_t>(i);
  packet.tag = {9, 8, 7, 6, 5, 4, 3, 2};
  auto bytes = EncodeBeacon(packet);
  const auto parsed = ParseBeacon(bytes);
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->reply);
  EXPECT_EQ(parsed->port, packet.port);
  EXPECT_EQ(parsed->nonce, packet.nonce);
  EXPECT_EQ(parsed->tag, packet.tag);
  EXPECT_FALSE(ParseBeacon(std::span(bytes).first(31)));
  for (const size_t at : {0u, 3u, 4u, 5u}) {
    auto bad = bytes;
    bad[at] ^= 0x40;
    EXPECT_FALSE(ParseBeacon(bad)) << at;
  }
  packet.port = 0;
  EXPECT_FALSE(ParseBeacon(EncodeBeacon(packet)));
}

TEST(BeaconPacketTest, OnlyMembersKnowTheTag) {
  const auto secret = ClusterSecret::Create();
  const ClusterSecret::Nonce nonce{1, 2, 3};
  EXPECT_EQ(secret->BeaconTag(nonce, 5), secret->BeaconTag(nonce, 5));
  EXPECT_NE(secret->BeaconTag(nonce, 5), secret->BeaconTag(nonce, 6));
  EXPECT_NE(secret->BeaconTag(nonce, 5), ClusterSecret::Create()->BeaconTag(nonce, 5));
}

// A node that only looks around.
struct Looker {
  Looker(const std::string& text, uint16_t own_port, uint16_t beacon_port)
      : secret(*ClusterSecret::Parse(text)) {
    thread.On([&] {
      discovery = Discovery::Start(
          thread.loop(), secret.get(),
          {.scope = DiscoveryScope::kLoopback, .port = own_port, .beacon_port = beacon_port},
          [this](const Found& one) {
            const MutexLock lock(mutex);
            (one.same_cluster ? ours : others).insert(one.address.port);
            hosts.insert(one.address.host);
            changed.NotifyAll();
          });
    });
  }
  ~Looker() {
    thread.On([&] { discovery.reset(); });
  }
  bool Wait(const std::function<bool()>& ready) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    const MutexLock lock(mutex);
    while (!ready()) {
      if (!changed.WaitUntil(mutex, deadline)) return ready();
    }
    return true;
  }

  std::unique_ptr<ClusterSecret> secret;
  Mutex mutex;
  CondVar changed;
  std::set<uint16_t> ours, others;  // guarded by mutex
  std::set<std::string> hosts;
  LoopThread thread;
  std::unique_ptr<Discovery> discovery;
};

// Not another test run's.
uint16_t BeaconPort() {
  return static_cast<uint16_t>(30000 + ::getpid() % 20000);
}

TEST(DiscoveryTest, ThreeNodesFindEachOtherOnLoopback) {
  const uint16_t beacon_port = BeaconPort();
  const std::string secret = NewSecret();
  Looker stranger(NewSecret(), 9, beacon_port);
  Looker a(secret, 1001, beacon_port), b(secret, 1002, beacon_port), c(secret, 1003, beacon_port);
  EXPECT_TRUE(a.Wait([&] { return a.ours == std::set<uint16_t>{1002, 1003}; }));
  EXPECT_TRUE(b.Wait([&] { return b.ours == std::set<uint16_t>{1001, 1003}; }));
  EXPECT_TRUE(c.Wait([&] { return c.ours == std::set<uint16_t>{1001, 1002}; }));
  EXPECT_TRUE(stranger.Wait([&] { return stranger.others.size() == 3; }));
  EXPECT_TRUE(stranger.ours.empty());
  EXPECT_EQ(stranger.thread.On([&] { return stranger.discovery->foreign_nodes(); }), 3u);
  EXPECT_EQ(a.hosts, std::set<std::string>{"127.0.0.1"});
  const DiscoveryReport report = a.thread.On([&] { return a.discovery->Report(); });
  EXPECT_TRUE(report.hears_itself);
  EXPECT_EQ(report.send_error, "");
  EXPECT_EQ(report.heard.size(), 2u);
}

// The second announcement would come after a second: no wait for it, but for a time in which other
// programs hold this one up.
TEST(DiscoveryTest, RepliesMakeItImmediate) {
  Time least = std::chrono::seconds(60);
  for (int round = 0; round < 10 && least > std::chrono::milliseconds(500); ++round) {
    const std::string secret = NewSecret();
    const Time start = sys::Now();
    Looker a(secret, 1001, BeaconPort()), b(secret, 1002, BeaconPort());
    for (Looker* one : {&a, &b}) EXPECT_TRUE(one->Wait([&] { return one->ours.size() == 1; }));
    least = std::min(least, sys::Now() - start);
  }
  EXPECT_LT(least, std::chrono::milliseconds(500));
}

// One real node on the LAN, for trials in network namespaces: finds `EXO_PROBE_PEERS` others of the
// same secret, says when each session was up, and stays two seconds longer for the rest.
TEST(DiscoveryProbe, FindsTheOthers) {
  const char* secret_text = std::getenv("EXO_PROBE_SECRET");
  if (secret_text == nullptr)
    GTEST_SKIP() << "set EXO_PROBE_SECRET, EXO_PROBE_PEERS, EXO_PROBE_MECHANISM";
  const size_t peers = static_cast<size_t>(std::atoi(std::getenv("EXO_PROBE_PEERS")));
  const std::string mechanism = std::getenv("EXO_PROBE_MECHANISM");
  const auto secret = *ClusterSecret::Parse(secret_text);
  const Time start = sys::Now();
  TestNode node({.secret = secret_text, .bind = ""});
  std::unique_ptr<Discovery> discovery = node.thread().On([&] {
    DiscoveryOptions options{.port = node.peers().port()};
    options.beacon = mechanism != "mdns";
    options.mdns = mechanism != "beacon";
    return Discovery::Start(node.thread().loop(), secret.get(), options,
                            [&node](const Found& found) {
                              if (found.same_cluster) node.peers().AddHint(found.address);
                            });
  });
  for (size_t count = 1; count <= peers; ++count) {
    EXPECT_TRUE(node.Wait([&] { return node.ups.size() >= count; }));
    fmt::print("{} of {} up after {} ms\n", count, peers, (sys::Now() - start).count() / 1'000'000);
  }
  const DiscoveryReport report = node.thread().On([&] { return discovery->Report(); });
  fmt::print("{} addresses; beacon: '{}', mDNS: '{}'\n", report.addresses, report.beacon_error,
             report.mdns_error);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  node.thread().On([&] { discovery.reset(); });
}

}  // namespace
}  // namespace exo::net::test
