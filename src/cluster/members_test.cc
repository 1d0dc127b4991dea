// Who is remembered and for how long: members, those that are gone, strangers.
#include <gtest/gtest.h>

#include <algorithm>

#include "cluster/core.h"

namespace exo::cluster {
namespace {

NodeId Id(uint32_t number) {
  NodeId id;
  id.bytes[0] = 1;
  for (size_t i = 0; i < 4; ++i) id.bytes[1 + i] = static_cast<uint8_t>(number >> (8 * i));
  return id;
}

class MembersTest : public testing::Test {
 protected:
  MembersTest() { Pass(Time{}); }

  std::vector<Effect> Tell(const Event& event) { return core_.Step(event, now_); }
  void Pass(Time time) {
    now_ += time;
    Tell(Tick{});
  }
  // Time during which this node runs: in small steps.
  void Live(Time time) {
    for (const Time end = now_ + time; now_ < end;) Pass(std::chrono::seconds(1));
  }
  void Join(uint32_t number, uint16_t port = 7) {
    Tell(SessionUp{
        .peer = Id(number), .boot_nonce = number, .name = "n", .address = {"10.0.0.1", port}});
  }
  void Depart(uint32_t number) {
    Tell(Received{Id(number), wire::Goodbye{"stopped"}});
    Tell(SessionDown{Id(number), "closed"});
  }
  std::optional<NodeStatus> See(uint32_t number) {
    for (const NodeStatus& status : core_.Nodes()) {
      if (status.record.id == Id(number)) return status;
    }
    return std::nullopt;
  }
  // The addresses at which the core wants to find a peer, of the latest ConnectPeer.
  std::optional<std::vector<wire::Address>> Sought(const std::vector<Effect>& effects) {
    for (const Effect& effect : effects) {
      if (const auto* connect = std::get_if<ConnectPeer>(&effect)) return connect->addresses;
    }
    return std::nullopt;
  }

  Time now_ = std::chrono::hours(1);
  NodeId self_{{200}};
  Core core_{{.self = self_, .name = "self", .incarnation = 1, .seed = 1}};
};

TEST_F(MembersTest, AnyNumberOfStrangersLeavesRoomForAMember) {
  for (uint32_t i = 1; i <= 1000; ++i) Tell(PeerRefused{Id(i), "not a member"});
  EXPECT_LE(core_.Nodes().size(), 10u);
  // The latest are shown, with the reason.
  ASSERT_TRUE(See(1000));
  EXPECT_EQ(See(1000)->state, PeerState::kRefused);
  EXPECT_EQ(See(1000)->detail, "not a member");
  Join(2000);
  EXPECT_EQ(See(2000)->state, PeerState::kAlive);
  Live(std::chrono::seconds(5));
  Tell(Received{Id(2000), wire::Heartbeat{.sequence = 1}});
  Live(std::chrono::seconds(62) - std::chrono::seconds(5));
  EXPECT_FALSE(See(1000)) << "strangers leave no trace";
}

TEST_F(MembersTest, AStrangerThatProvesItselfIsAMember) {
  Tell(PeerRefused{Id(1), "not a member"});
  Join(1);
  EXPECT_EQ(core_.Nodes().size(), 2u);
  EXPECT_EQ(See(1)->state, PeerState::kAlive);
  // Refused later (revoked, another arithmetic), it is still the member it was.
  Depart(1);
  Tell(PeerRefused{Id(1), "another arithmetic"});
  EXPECT_EQ(See(1)->state, PeerState::kRefused);
  EXPECT_EQ(core_.Nodes().size(), 2u);
}

TEST_F(MembersTest, ARefusedDeviceIsShownWithWhatItSpeaks) {
  const PeerRefused refused{Id(1), "update", wire::RefusalCode::kVersion, {7, 9}};
  Tell(refused);  // a stranger
  EXPECT_EQ(See(1)->refusal, wire::RefusalCode::kVersion);
  EXPECT_EQ(See(1)->protocols, (wire::Protocols{7, 9}));
  Join(1);
  Depart(1);
  Tell(refused);  // a member that was updated
  EXPECT_EQ(See(1)->refusal, wire::RefusalCode::kVersion);
  EXPECT_EQ(See(1)->protocols, (wire::Protocols{7, 9}));
}

// The peer reads its clock at some moment between our heartbeat and its answer.
TEST_F(MembersTest, ClocksAreComparedToWithinAMessagesWay) {
  using std::chrono::milliseconds, std::chrono::seconds;
  constexpr uint64_t kWall = 1'800'000'000'000;
  Tell(Tick{.wall_ms = kWall});
  Join(1);
  EXPECT_FALSE(See(1)->clock_ahead);
  now_ += milliseconds(400);
  Tell(Tick{.wall_ms = kWall + 400});
  const auto say = [&](uint64_t sequence, uint64_t wall_ms) {
    Tell(Received{Id(1), wire::Heartbeat{.sequence = sequence, .echo = 1, .wall_ms = wall_ms}});
    return See(1)->clock_ahead;
  };
  EXPECT_FALSE(say(1, 0)) << "one that does not say";
  EXPECT_EQ(say(2, kWall), milliseconds(0)) << "no later than ours when it was asked";
  EXPECT_EQ(say(3, kWall + 400), milliseconds(0));
  EXPECT_EQ(say(4, kWall + 10'400), seconds(10));
  EXPECT_EQ(say(5, kWall - 90'000), -seconds(90));
  Tell(SessionDown{Id(1), "closed"});
  Tell(SessionUp{.peer = Id(1), .boot_nonce = 2});
  EXPECT_FALSE(See(1)->clock_ahead) << "a restarted one is asked anew";
}

TEST_F(MembersTest, ItIsSaidSinceWhenADeviceIsSilent) {
  Tell(Tick{.wall_ms = 1'800'000'000'000});  // 2027-01-15 08:00:00
  Join(1);
  for (int i = 0; i < 70; ++i) {
    now_ += std::chrono::milliseconds(100);
    Tell(Tick{.wall_ms = 1'800'000'000'000 + 100 * (static_cast<uint64_t>(i) + 1)});
  }
  EXPECT_EQ(See(1)->state, PeerState::kDead);
  EXPECT_EQ(See(1)->detail, "silent since 2027-01-15 08:00:00 UTC");
}

TEST_F(MembersTest, AForgottenDeviceIsLostAtOnce) {
  Join(1);
  const auto effects = Tell(PeerForgotten{Id(1), "it was forgotten"});
  EXPECT_TRUE(std::ranges::any_of(effects, [](const Effect& effect) {
    const auto* cut = std::get_if<Disconnect>(&effect);
    return cut != nullptr && cut->peer == Id(1);
  }));
  EXPECT_FALSE(See(1));
  EXPECT_TRUE(core_.PlannerNodes().size() == 1);
  Tell(SessionDown{Id(1), "closed"});  // late news of it
  Tell(Received{Id(1), wire::Heartbeat{}});
  EXPECT_FALSE(See(1));
}

TEST_F(MembersTest, WhatAGuestHoldsDoesNotCount) {
  Tell(Guests{{Id(1)}});
  for (const uint32_t number : {1, 2}) {
    Join(number);
    Tell(Received{Id(number), wire::NodeUpdate{{.id = Id(number),
                                                .version = 1,
                                                .models = {{.name = "m", .complete = true}}}}});
  }
  EXPECT_TRUE(See(1)->record.models.empty());
  EXPECT_EQ(See(2)->record.models.size(), 1u);
  for (const PlanNode& node : core_.PlannerNodes()) EXPECT_EQ(node.guest, node.id == Id(1));
  // One that is known already, and this node itself.
  Tell(Guests{{Id(1), Id(2), core_.Nodes()[0].record.id}});
  EXPECT_TRUE(See(2)->record.models.empty());
  EXPECT_TRUE(core_.PlannerNodes().empty()) << "a guest places nothing";
}

TEST_F(MembersTest, ManyDepartedIdentitiesLeaveRoomForANewOne) {
  for (uint32_t i = 1; i <= 300; ++i) {
    Join(i);
    Depart(i);
    Pass(std::chrono::milliseconds(100));
  }
  Join(1000);
  EXPECT_EQ(See(1000)->state, PeerState::kAlive);
  EXPECT_LE(core_.Nodes().size(), 257u);
  EXPECT_TRUE(See(300)) << "the longest gone is forgotten first";
  EXPECT_FALSE(See(1));
}

TEST_F(MembersTest, HearsayTakesNobodysPlaceAndIsForgotten) {
  Join(1);
  wire::PeerHints hints;
  for (uint32_t i = 0; i < 256; ++i)
    hints.peers.push_back({Id(1000 + i), {{"10.0.0.9", static_cast<uint16_t>(i + 1)}}});
  Tell(Received{Id(1), hints});
  hints.peers.clear();
  hints.peers.push_back({Id(5000), {{"10.0.0.9", 9}}});
  Tell(Received{Id(1), hints});
  EXPECT_LE(core_.Nodes().size(), 257u);
  Join(2);
  EXPECT_EQ(See(2)->state, PeerState::kAlive);
  EXPECT_EQ(See(1)->state, PeerState::kAlive);
  Live(std::chrono::minutes(11));
  EXPECT_FALSE(See(1001));
}

TEST_F(MembersTest, TheGoneAreForgottenAfterADay) {
  Join(1);
  Depart(1);
  EXPECT_EQ(See(1)->state, PeerState::kLeft);
  Live(std::chrono::hours(23));
  EXPECT_TRUE(See(1));
  Live(std::chrono::hours(2));
  EXPECT_FALSE(See(1));
}

TEST_F(MembersTest, GoodbyeIsTheLastWordWhateverTheConnectionSays) {
  Join(1);
  Tell(Received{Id(1), wire::Goodbye{"stopped by its user"}});
  Tell(SessionDown{Id(1), "connection reset by peer"});
  Live(std::chrono::seconds(10));
  EXPECT_EQ(See(1)->state, PeerState::kLeft);
  EXPECT_EQ(See(1)->detail, "stopped by its user");
}

TEST_F(MembersTest, RememberedMembersAreSoughtAndShownAsAbsent) {
  RememberedPeers remembered;
  remembered.hints.peers.push_back({Id(1), {{"10.0.0.5", 4000}}});
  const auto sought = Sought(Tell(remembered));
  ASSERT_TRUE(sought);
  EXPECT_EQ(*sought, (std::vector<wire::Address>{{"10.0.0.5", 4000}}));
  EXPECT_EQ(See(1)->state, PeerState::kDead);
  now_ += std::chrono::seconds(6);
  EXPECT_TRUE(Sought(Tell(Tick{}))) << "again after a while";
  Join(1, 4000);
  EXPECT_EQ(See(1)->state, PeerState::kAlive);
}

TEST_F(MembersTest, AddressesOfAnEarlierPortAreDropped) {
  Join(1, 4000);
  Tell(SessionDown{Id(1), "closed"});
  Join(1, 5000);
  const auto sought = Sought(Tell(SessionDown{Id(1), "closed"}));
  ASSERT_TRUE(sought);
  EXPECT_EQ(*sought, (std::vector<wire::Address>{{"10.0.0.1", 5000}}));
}

// What a busy loop adds is no news of the network; what the network adds is seen within seconds.
TEST_F(MembersTest, TheShortestOfTheLatestRoundTripsCounts) {
  const NodeId peer{{250}};  // the larger id answers every heartbeat
  Tell(SessionUp{.peer = peer, .boot_nonce = 1, .name = "n"});
  Tell(Received{peer, wire::NodeUpdate{{.id = peer, .incarnation = 1, .version = 1}}});
  uint64_t sequence = 0;
  const auto answer = [&](double ms) {
    now_ += std::chrono::seconds(1);
    uint64_t echo = 0;
    for (const Effect& effect : Tell(Tick{})) {
      const auto* send = std::get_if<Send>(&effect);
      if (send == nullptr) continue;
      if (const auto* beat = std::get_if<wire::Heartbeat>(&send->message)) echo = beat->sequence;
    }
    now_ += std::chrono::microseconds(static_cast<int64_t>(1000 * ms));
    Tell(Received{
        peer, wire::Heartbeat{
                  .sequence = ++sequence, .incarnation = 1, .record_version = 1, .echo = echo}});
  };
  const auto rtt = [&] {
    const auto nodes = core_.PlannerNodes();
    const auto at = std::ranges::find(nodes, peer, &PlanNode::id);
    return at == nodes.end() ? -1 : at->rtt_ms;
  };
  EXPECT_EQ(rtt(), 0);
  for (const double ms : {3.0, 0.5, 30.0, 4.0}) answer(ms);
  EXPECT_NEAR(rtt(), 0.5, 0.01);
  for (int i = 0; i < 4; ++i) answer(80);
  EXPECT_NEAR(rtt(), 80, 0.01);
}

TEST_F(MembersTest, LinksOfRecordsReachThePlanner) {
  Join(1);
  const wire::LinkRecord link{
      .to = Id(2), .rtt_ms = 2, .rtt_p99_ms = 9, .mbps = 300, .measured_s = 7};
  wire::NodeRecord record{.id = Id(1), .incarnation = 1, .version = 1, .links = {link}};
  record.links.push_back({.to = Id(3), .rtt_ms = -5, .rtt_p99_ms = 1e300, .mbps = 1e300});
  Tell(Received{Id(1), wire::NodeUpdate{record}});
  const auto nodes = core_.PlannerNodes();
  const auto at = std::ranges::find(nodes, Id(1), &PlanNode::id);
  ASSERT_NE(at, nodes.end());
  ASSERT_EQ(at->links.size(), 2u);
  EXPECT_EQ(at->links[0].to, Id(2));
  EXPECT_EQ(at->links[0].rtt_ms, 2);
  EXPECT_EQ(at->links[0].rtt_p99_ms, 9);
  EXPECT_EQ(at->links[0].mbps, 300);
  EXPECT_EQ(at->links[1].rtt_ms, 0) << "nobody's measurement";
  EXPECT_LT(at->links[1].mbps, 1e8);
}

}  // namespace
}  // namespace exo::cluster
