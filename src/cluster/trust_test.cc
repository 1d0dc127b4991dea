// Trust as a replicated record: merging, epochs, and a device that was forgotten.
#include "cluster/trust.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/random.h"
#include "wire/limits.h"

namespace exo::cluster {
namespace {

using wire::TrustRole;

NodeId Key(uint8_t value) {
  return NodeId{{value}};
}
std::vector<uint8_t> SecretOf(uint8_t value) {
  return std::vector<uint8_t>(32, value);
}
// A member of a cluster whose first secret is SecretOf(1).
Trust MemberOf(uint8_t self, std::initializer_list<uint8_t> others) {
  Trust trust{Key(self)};
  wire::TrustUpdate record{.secret = SecretOf(1), .entries = {{.id = Key(self)}}};
  for (const uint8_t other : others) record.entries.push_back({.id = Key(other)});
  trust.Restore(record);
  return trust;
}
void Meet(Trust& a, Trust& b) {
  const auto from_a = a.UpdateFor(b.self()), from_b = b.UpdateFor(a.self());
  a.Merge(from_b);
  b.Merge(from_a);
}

TEST(TrustTest, ForgottenIsForEver) {
  Trust trust = MemberOf(1, {2});
  const auto change = trust.Forget(Key(2), SecretOf(9), 1000);
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->secret);
  EXPECT_EQ(change->lost, std::vector{Key(2)});
  EXPECT_TRUE(trust.IsForgotten(Key(2)));
  EXPECT_FALSE(trust.IsTrusted(Key(2)));
  EXPECT_EQ(trust.secret(), SecretOf(9));
  const auto again = trust.Admit({.id = Key(2)});
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("new key"), std::string::npos);
  trust.Merge({.epoch = {.wall_ms = 5000}, .secret = SecretOf(8), .entries = {{.id = Key(2)}}});
  EXPECT_TRUE(trust.IsForgotten(Key(2)));
  EXPECT_EQ(trust.Forget(Key(1), SecretOf(7), 1).error().code, ErrorCode::kInvalid);
}

TEST(TrustTest, AMemberThatWasAwayLearnsAtContact) {
  Trust a = MemberOf(1, {2, 3}), b = MemberOf(2, {1, 3});
  ASSERT_TRUE(a.Forget(Key(3), SecretOf(9), 1000));
  const auto change = b.Merge(a.UpdateFor(Key(2)));
  EXPECT_TRUE(change.secret);
  EXPECT_EQ(change.lost, std::vector{Key(3)});
  EXPECT_EQ(change.forgotten.size(), 1u);
  EXPECT_EQ(b.secret(), SecretOf(9));
  EXPECT_FALSE(b.Merge(a.UpdateFor(Key(2))).any) << "nothing is news twice";
}

// The forgotten device makes itself a new key and shows the old secret to a member that was away.
TEST(TrustTest, ANewKeyByTheOldSecretIsDroppedAtContact) {
  Trust a = MemberOf(1, {2, 3}), away = MemberOf(2, {1, 3});
  ASSERT_TRUE(a.Forget(Key(3), SecretOf(9), 1000));
  ASSERT_TRUE(away.Admit({.id = Key(4), .name = "again"}));
  const auto at_a = a.Merge(away.UpdateFor(Key(1)));
  EXPECT_FALSE(at_a.any);
  EXPECT_FALSE(a.IsTrusted(Key(4)));
  const auto at_away = away.Merge(a.UpdateFor(Key(2)));
  EXPECT_FALSE(away.IsTrusted(Key(4)));
  EXPECT_NE(std::ranges::find(at_away.lost, Key(4)), at_away.lost.end());
}

// Two halves of a cluster forget a device each; each half's secret went to the other's device.
TEST(TrustTest, TwoHalvesThatForgotDifferentDevicesMakeASecretThatNeitherKnows) {
  Trust a = MemberOf(1, {2, 3, 4}), b = MemberOf(2, {1, 3, 4});
  ASSERT_TRUE(a.Forget(Key(3), SecretOf(8), 1000));
  ASSERT_TRUE(b.Forget(Key(4), SecretOf(9), 2000));
  const auto from_a = a.UpdateFor(Key(2)), from_b = b.UpdateFor(Key(1));
  EXPECT_TRUE(b.Merge(from_a).stale_secret);
  EXPECT_FALSE(a.Merge(from_b).stale_secret);
  b.Rotate(SecretOf(10), 2000);
  Meet(a, b);
  for (const Trust* one : {&a, &b}) {
    EXPECT_EQ(one->secret(), SecretOf(10));
    EXPECT_TRUE(one->IsForgotten(Key(3)) && one->IsForgotten(Key(4)));
  }
}

TEST(TrustTest, AWrongClockDoesNotStopAChange) {
  Trust a = MemberOf(1, {2});
  a.Rotate(SecretOf(5), 1'000'000);
  const auto before = a.epoch();
  a.Rotate(SecretOf(6), 10);
  EXPECT_GT(a.epoch(), before);
}

TEST(TrustTest, GuestsGetNoSecretAndStayGuests) {
  Trust a = MemberOf(1, {});
  ASSERT_TRUE(a.Admit({.id = Key(2), .role = TrustRole::kGuest}));
  EXPECT_TRUE(a.UpdateFor(Key(2)).secret.empty());
  ASSERT_TRUE(a.Admit({.id = Key(2)}));
  EXPECT_TRUE(a.IsGuest(Key(2)));
  Trust guest{Key(2)};
  guest.Join(a.UpdateFor(Key(2)));
  EXPECT_TRUE(guest.IsGuest(Key(2)));
  EXPECT_TRUE(guest.IsTrusted(Key(1)));
  EXPECT_TRUE(guest.secret().empty());
}

TEST(TrustTest, AMemberThatBecomesAGuestIsTold) {
  Trust trust = MemberOf(1, {2});
  EXPECT_TRUE(trust.Admit({.id = Key(2), .role = TrustRole::kGuest})->demoted);
  EXPECT_FALSE(trust.Admit({.id = Key(2), .role = TrustRole::kGuest})->demoted);
  EXPECT_FALSE(trust.Admit({.id = Key(3), .role = TrustRole::kGuest})->demoted) << "never a member";
}

TEST(TrustTest, WhoJoinsAnotherClusterLeavesTheFormerOne) {
  Trust a = MemberOf(1, {2});
  ASSERT_TRUE(a.Forget(Key(3), SecretOf(4), 10));
  const auto change = a.Join({.secret = SecretOf(7), .entries = {{.id = Key(9)}, {.id = Key(1)}}});
  EXPECT_EQ(change.lost, std::vector{Key(2)});
  EXPECT_TRUE(a.IsTrusted(Key(9)) && a.IsTrusted(Key(1)));
  EXPECT_FALSE(a.Knows(Key(2)) || a.Knows(Key(3)));
  EXPECT_EQ(a.epoch(), wire::HybridTime{});
  EXPECT_EQ(a.secret(), SecretOf(7));
}

TEST(TrustTest, ARecordDoesNotGrowWithoutEnd) {
  Trust a = MemberOf(1, {});
  wire::TrustUpdate flood;
  for (uint32_t i = 0; i < 2 * wire::kMaxTrustEntries; ++i) {
    NodeId id;
    std::memcpy(id.bytes.data() + 1, &i, sizeof(i));
    id.bytes[0] = 7;
    flood.entries.push_back({.id = id});
  }
  a.Merge(flood);
  EXPECT_EQ(a.entries().size(), wire::kMaxTrustEntries);
  EXPECT_EQ(a.Admit({.id = Key(200)}).error().code, ErrorCode::kOverloaded);
}

// Whatever order updates come in and however often: all members agree in the end.
TEST(TrustTest, MergingConverges) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    std::vector<Trust> members;
    for (uint8_t i = 1; i <= 4; ++i) members.push_back(MemberOf(i, {1, 2, 3, 4}));
    for (int step = 0; step < 12; ++step) {
      Trust& one = members[rng.Below(members.size())];
      const auto other = static_cast<uint8_t>(5 + rng.Below(4));
      switch (rng.Below(4)) {
        case 0:
          (void)one.Admit({.id = Key(other), .name = fmt::format("n{}", rng.Below(3))});
          break;
        case 1:
          (void)one.Forget(Key(other), SecretOf(static_cast<uint8_t>(rng.Next())), rng.Below(100));
          break;
        default:
          Meet(one, members[rng.Below(members.size())]);
      }
    }
    for (int round = 0; round < 4; ++round) {
      for (Trust& a : members) {
        for (Trust& b : members) Meet(a, b);
      }
    }
    for (const Trust& one : members) {
      EXPECT_EQ(one.entries(), members[0].entries()) << "seed " << seed;
      EXPECT_EQ(one.secret(), members[0].secret()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace exo::cluster
