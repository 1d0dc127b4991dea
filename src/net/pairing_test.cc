// Pairing as two machines, without TLS or sockets: the code, the tries, and what a man in the
// middle can do.
#include "net/pairing.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "net/invitation.h"
#include "wire/limits.h"

namespace exo::net {
namespace {

using wire::PairKind;
using wire::PairRefusal;

// A device that invites, on a clock of its own.
class TestInviter final : public PairInviter::Gate {
 public:
  TestInviter() {
    trust.entries = {{.id = {{2}}, .name = "desk"}};
    trust.secret.assign(wire::kClusterSecretBytes, 7);
    invitation.Open(wire::TrustRole::kMember, now);
  }
  PairInviter::Answer<std::string> BeginRun(const NodeId& peer, PairKind kind) override {
    return invitation.Begin(peer, kind, now);
  }
  void EndRun(const NodeId& peer) override { invitation.End(peer); }
  wire::PairRefused OnWrongCode(const NodeId&, PairKind kind) override {
    return invitation.OnWrong(kind);
  }
  PairInviter::Answer<wire::TrustUpdate> OnRightCode(const NodeId& peer, PairKind,
                                                     const std::string& name) override {
    admitted.push_back(peer);
    admitted_name = name;
    invitation.Close();
    return trust;
  }
  PairInviter::Answer<wire::TrustUpdate> OnAsk(const NodeId& peer, const std::string&) override {
    if (peer == approved) return trust;
    return std::unexpected(wire::PairRefused{PairRefusal::kPending, "wait"});
  }

  Time now = std::chrono::hours(1);
  Invitation invitation;
  wire::TrustUpdate trust;
  std::vector<NodeId> admitted;
  std::string admitted_name;
  NodeId approved;
};

const NodeId kJoiner{{1}}, kDesk{{2}}, kThird{{3}};

SecureChannel ChannelOf(ProofSide side, const NodeId& peer, uint8_t connection = 9) {
  return {side, peer, {connection}};
}

PairJoiner Joiner(const std::string& code, PairKind kind = PairKind::kCode) {
  return {ChannelOf(ProofSide::kInitiator, kDesk),
          kJoiner,
          {.kind = kind, .code = code, .name = "laptop"}};
}
PairInviter InviterOf(TestInviter& gate, uint8_t connection = 9) {
  return {ChannelOf(ProofSide::kListener, kJoiner, connection), kDesk, gate};
}

void Converse(PairJoiner& joiner, PairInviter& inviter) {
  std::optional<wire::Message> say = joiner.Begin();
  while (say && !inviter.done()) say = joiner.On(inviter.On(*say));
}

TEST(PairingTest, TheRightCodeGivesTheClustersTrust) {
  for (const PairKind kind : {PairKind::kCode, PairKind::kLink}) {
    TestInviter gate;
    PairJoiner joiner = Joiner(
        kind == PairKind::kCode ? gate.invitation.code(gate.now) : gate.invitation.link(gate.now),
        kind);
    PairInviter inviter = InviterOf(gate);
    Converse(joiner, inviter);
    ASSERT_EQ(joiner.state(), PairJoiner::State::kPaired) << joiner.refusal().reason;
    EXPECT_EQ(joiner.trust(), gate.trust);
    EXPECT_EQ(gate.admitted, std::vector{kJoiner});
    EXPECT_EQ(gate.admitted_name, "laptop");
    // It was for one device.
    PairJoiner second = Joiner(gate.invitation.code(gate.now));
    PairInviter again = InviterOf(gate);
    Converse(second, again);
    EXPECT_EQ(second.refusal().code, PairRefusal::kNotInviting);
  }
}

TEST(PairingTest, ThreeWrongCodesEndTheInvitation) {
  TestInviter gate;
  const std::string code = gate.invitation.code(gate.now);
  const auto attempt = [&](const std::string& typed) {
    PairJoiner joiner = Joiner(typed);
    PairInviter inviter = InviterOf(gate);
    Converse(joiner, inviter);
    return joiner.state() == PairJoiner::State::kPaired ? "paired" : joiner.refusal().reason;
  };
  EXPECT_NE(attempt("none").find("2 more tries"), std::string::npos);
  EXPECT_NE(attempt("none").find("1 more try"), std::string::npos);
  EXPECT_NE(attempt("none").find("last try"), std::string::npos);
  EXPECT_NE(attempt(code).find("invites nobody"), std::string::npos);
  EXPECT_TRUE(gate.admitted.empty());
}

TEST(PairingTest, CodesAndLinksGrowOld) {
  TestInviter gate;
  const Time opened = gate.now;
  EXPECT_EQ(gate.invitation.code(opened).size(), 6u);
  gate.now = opened + Invitation::kCodeTime;
  EXPECT_EQ(gate.invitation.code(gate.now), "");
  EXPECT_EQ(gate.invitation.Begin(kJoiner, PairKind::kCode, gate.now).error().code,
            PairRefusal::kNotInviting);
  EXPECT_NE(gate.invitation.link(gate.now), "");
  gate.now = opened + Invitation::kLinkTime;
  EXPECT_EQ(gate.invitation.link(gate.now), "");
}

TEST(PairingTest, OneDeviceAtATime) {
  TestInviter gate;
  PairJoiner first = Joiner(gate.invitation.code(gate.now));
  {
    PairInviter going = InviterOf(gate);
    (void)going.On(first.Begin());
    PairJoiner second = Joiner(gate.invitation.code(gate.now));
    PairInviter busy(ChannelOf(ProofSide::kListener, kThird), kDesk, gate);
    Converse(second, busy);
    EXPECT_EQ(second.refusal().code, PairRefusal::kBusy);
  }
  EXPECT_TRUE(gate.invitation.Begin(kThird, PairKind::kCode, gate.now)) << "that run is over";
}

// Guesses of a stranger, each in an invitation that a user has opened. EXO_PAIR_CODES=100000 tries
// so many; a right guess has a chance of one in a million.
TEST(PairingTest, WrongCodesNeverGetIn) {
  const char* wanted = std::getenv("EXO_PAIR_CODES");
  const int guesses = wanted != nullptr ? std::atoi(wanted) : 2000;
  int refused = 0;
  TestInviter gate;
  for (int i = 0; i < guesses; ++i) {
    if (i % Invitation::kTries == 0) gate.invitation.Open(wire::TrustRole::kMember, gate.now);
    std::string guess = fmt::format("{:06}", i);
    if (guess == gate.invitation.code(gate.now)) guess = "x";
    PairJoiner joiner = Joiner(guess);
    PairInviter inviter = InviterOf(gate);
    Converse(joiner, inviter);
    refused += joiner.state() == PairJoiner::State::kRefused &&
               joiner.refusal().code == PairRefusal::kWrongCode;
  }
  EXPECT_EQ(refused, guesses);
  EXPECT_TRUE(gate.admitted.empty());
}

// With two connections a man in the middle has two exporters, and another key than the device.
TEST(PairingTest, NothingCanBeRelayed) {
  TestInviter gate;
  const std::string code = gate.invitation.code(gate.now);
  PairJoiner joiner = Joiner(code);
  PairInviter other_connection = InviterOf(gate, 10);
  Converse(joiner, other_connection);
  EXPECT_EQ(joiner.state(), PairJoiner::State::kRefused);
  EXPECT_EQ(gate.invitation.tries_left(), 2) << "which counts as a wrong code";

  PairJoiner again = Joiner(code);
  PairInviter other_key(ChannelOf(ProofSide::kListener, kThird), kDesk, gate);
  Converse(again, other_key);
  EXPECT_EQ(again.state(), PairJoiner::State::kRefused);
  EXPECT_TRUE(gate.admitted.empty());
}

TEST(PairingTest, NothingCanBeReflectedOrReplayed) {
  TestInviter gate;
  const std::string code = gate.invitation.code(gate.now);
  // The new device's own messages come back.
  PairJoiner mirrored = Joiner(code);
  const auto start = std::get<wire::PairStart>(mirrored.Begin());
  EXPECT_FALSE(mirrored.On(wire::PairShare{start.share}));
  EXPECT_EQ(mirrored.state(), PairJoiner::State::kRefused);
  // A tag that was right, in another run of the same connection.
  PairJoiner joiner = Joiner(code);
  PairInviter first = InviterOf(gate);
  const auto tag = *joiner.On(first.On(joiner.Begin()));
  gate.EndRun(kJoiner);
  PairInviter second = InviterOf(gate);
  (void)second.On(joiner.Begin());
  const wire::Message answer = second.On(tag);
  ASSERT_TRUE(std::holds_alternative<wire::PairRefused>(answer));
  EXPECT_EQ(std::get<wire::PairRefused>(answer).code, PairRefusal::kWrongCode);
  EXPECT_TRUE(gate.admitted.empty());
}

TEST(PairingTest, MessagesOutOfTurnEndARun) {
  TestInviter gate;
  for (const wire::Message& message :
       {wire::Message(wire::PairConfirm{}), wire::Message(wire::PairShare{}),
        wire::Message(wire::PairGrant{}), wire::Message(wire::Hello{})}) {
    PairInviter inviter = InviterOf(gate);
    EXPECT_TRUE(std::holds_alternative<wire::PairRefused>(inviter.On(message)));
    EXPECT_TRUE(inviter.done());
    PairJoiner joiner = Joiner("123456");
    (void)joiner.On(message);
    EXPECT_EQ(joiner.state(), PairJoiner::State::kRefused);
  }
  PairInviter inviter = InviterOf(gate);
  PairJoiner joiner = Joiner("123456");
  (void)inviter.On(joiner.Begin());
  EXPECT_TRUE(std::holds_alternative<wire::PairRefused>(inviter.On(joiner.Begin())));
  EXPECT_EQ(gate.invitation.tries_left(), Invitation::kTries) << "nobody has tried a code";
}

// A grant that was changed on its way, and one of whoever does not know the code.
TEST(PairingTest, AGrantOfSomebodyElseIsRefused) {
  TestInviter gate;
  for (const bool wrong_tag : {true, false}) {
    gate.invitation.Open(wire::TrustRole::kMember, gate.now);
    PairJoiner joiner = Joiner(gate.invitation.code(gate.now));
    PairInviter inviter = InviterOf(gate);
    auto grant = std::get<wire::PairGrant>(inviter.On(*joiner.On(inviter.On(joiner.Begin()))));
    (wrong_tag ? grant.tag : grant.sealed).back() ^= 1;
    (void)joiner.On(grant);
    EXPECT_EQ(joiner.state(), PairJoiner::State::kRefused);
    EXPECT_EQ(joiner.trust(), wire::TrustUpdate{});
  }
}

TEST(PairingTest, WhoeverAsksWaitsToBeApproved) {
  TestInviter gate;
  for (const bool approved : {false, true}) {
    if (approved) gate.approved = kJoiner;
    PairJoiner joiner = Joiner("", PairKind::kAsk);
    PairInviter inviter = InviterOf(gate);
    Converse(joiner, inviter);
    if (approved) {
      EXPECT_EQ(joiner.trust(), gate.trust);
    } else {
      EXPECT_EQ(joiner.refusal().code, PairRefusal::kPending);
    }
  }
}

TEST(PairingTest, CodesAndLinksAsTheyAreTyped) {
  EXPECT_EQ(ParsePairCode("123 456").value(), "123456");
  EXPECT_EQ(ParsePairCode("123-456").value(), "123456");
  for (const char* bad : {"", "12345", "1234567", "12345a", "+12345"})
    EXPECT_EQ(ParsePairCode(bad).error().code, ErrorCode::kInvalid) << bad;
  TestInviter gate;
  for (const char* host : {"10.0.0.7", "fd00::1", "desk.local"}) {
    const InviteLink link{{host, 52425}, gate.invitation.link(gate.now)};
    const auto read = ParseInviteLink(InviteLinkText(link));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->address, link.address);
    EXPECT_EQ(read->secret, link.secret);
  }
  for (const char* bad : {"", "exo://", "exo://10.0.0.7:1", "exo://10.0.0.7:1/abc",
                          "https://10.0.0.7:1/00000000000000000000000000",
                          "exo://10.0.0.7:1/0000000000000000000000000u"}) {
    EXPECT_FALSE(ParseInviteLink(bad)) << bad;
  }
}

}  // namespace
}  // namespace exo::net
