// Devices that fall silent, leave and come back, and who owns their models then.
#include "cluster/harness.h"

namespace exo::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(CoreTest, SilenceSuspectsAfterThreeSecondsAndKillsAfterSix) {
  Add("a", kMiB, false);
  Add("b", kMiB, false);
  ConnectAll();
  nodes_[1].alive = false;
  Pass(milliseconds(3300));
  EXPECT_EQ(See(0, 1), PeerState::kSuspect);
  Pass(milliseconds(3000));
  EXPECT_EQ(See(0, 1), PeerState::kDead);
  EXPECT_EQ(Take<Disconnect>(0).size(), 1u);
}

TEST_F(CoreTest, ARestartedPeerIsAnotherOne) {
  Add("a", 4 * kMiB, true);
  Add("b", 4 * kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_EQ(nodes_[0].core->Instances().size(), 1u);
  const PlanId before = nodes_[0].core->Instances()[0].summary.plan.id;
  nodes_[1].alive = false;
  Tell(0, SessionUp{.peer = nodes_[1].id, .boot_nonce = 2});
  for (const auto& instance : nodes_[0].core->Instances())
    EXPECT_NE(instance.summary.plan.id, before);
}

TEST_F(CoreTest, TwoOwnersOfOneModelConvergeOnOne) {
  Add("a", 100 * kMiB, true);
  Add("b", 100 * kMiB, true);
  for (size_t i = 0; i < 2; ++i)
    Tell(i, EnsureModel{.ticket = i, .model = SixLayers().id});  // apart: both place it
  ConnectAll();
  Pass(seconds(4));
  for (size_t i = 0; i < 2; ++i) {
    const auto instances = nodes_[i].core->Instances();
    ASSERT_EQ(instances.size(), 1u);
    EXPECT_EQ(instances[0].summary.plan.owner, nodes_[0].id);
  }
  EXPECT_EQ(nodes_[1].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, AVanishedOwnerLosesItsMemoryWithTheLease) {
  Add("a", 4 * kMiB, true);
  Add("b", 4 * kMiB, false);
  ConnectAll();
  loading_ = false;
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_GT(nodes_[1].core->reserved_bytes(), 0u);
  nodes_[0].alive = false;
  // A session that still delivers heartbeats does not renew a lease.
  for (int i = 0; i < 160; ++i) {
    Tell(1, Received{nodes_[0].id, wire::Heartbeat{}});
    Pass(milliseconds(100));
  }
  EXPECT_EQ(nodes_[1].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, ALeadGoesOnWhenTheOwnerWithTheFileLeaves) {
  Add("a", kMiB, true);  // holds the file, computes nothing
  Add("b", 100 * kMiB, false);
  Add("c", kMiB, false);
  ConnectAll();
  Tell(2, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_TRUE(Take<EnsureReply>(2)[0].result);
  const PlanId plan = nodes_[1].core->Instances()[0].summary.plan.id;
  Tell(2, SubmitLocal{Ask(), SixLayers().id});
  Kill(0);
  Pass(seconds(30));  // longer than every lease
  for (const size_t node : {1u, 2u}) {
    ASSERT_NE(InstanceAt(node), nullptr);
    EXPECT_EQ(InstanceAt(node)->summary.plan.id, plan);
    EXPECT_EQ(InstanceAt(node)->summary.owner, nodes_[1].id);
    EXPECT_EQ(InstanceAt(node)->summary.state, wire::InstanceState::kReady);
  }
  EXPECT_TRUE(Take<RequestFinished>(2).empty());  // the answer goes on
  Tell(2, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(1));
  EXPECT_TRUE(Take<UnloadReply>(2)[0].result);
  EXPECT_EQ(nodes_[1].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, AnOwnerThatComesBackFindsItsInstanceAdopted) {
  Add("a", kMiB, true);
  Add("b", 100 * kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const PlanId plan = nodes_[1].core->Instances()[0].summary.plan.id;
  Kill(0);
  Pass(seconds(4));
  Restart(0, kMiB, true);
  Tell(1, SessionUp{.peer = nodes_[0].id, .boot_nonce = 2}, false);
  Tell(0, SessionUp{.peer = nodes_[1].id, .boot_nonce = 1}, false);
  Deliver();
  Pass(seconds(20));
  ASSERT_NE(InstanceAt(0), nullptr);
  EXPECT_EQ(InstanceAt(0)->summary.plan.id, plan);
  EXPECT_EQ(InstanceAt(0)->summary.owner, nodes_[1].id);
}

// It has pulled the model and is back before anybody gives the owner up: the instance that it does
// not run any more must not be seen beside the new one.
TEST_F(CoreTest, ALeadThatRestartsBeforeTheOwnerIsMissedAdoptsNothing) {
  Add("a", kMiB, true);
  Add("b", 100 * kMiB, false);
  Add("c", kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_NE(InstanceAt(2), nullptr);
  const PlanId plan = InstanceAt(2)->summary.plan.id;
  // Whichever of the two is missed first.
  nodes_[0].alive = false;
  Tell(2, Received{nodes_[1].id, wire::Goodbye{"stopped"}});
  Kill(0);
  Restart(1, 100 * kMiB, true);
  Tell(2, SessionUp{.peer = nodes_[1].id, .boot_nonce = 2}, false);
  Tell(1, SessionUp{.peer = nodes_[2].id, .boot_nonce = 1}, false);
  Deliver();
  Pass(seconds(8));
  ASSERT_NE(InstanceAt(2), nullptr);
  EXPECT_NE(InstanceAt(2)->summary.plan.id, plan);
  EXPECT_EQ(InstanceAt(2)->summary.owner, nodes_[1].id);
}

}  // namespace
}  // namespace exo::cluster
