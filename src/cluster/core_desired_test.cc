// What shall run: kept over restarts, the same on every member, loads and unloads in order.
#include "cluster/harness.h"

namespace exo::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Answering at once let a load on another node overtake the unload, which then cancelled it.
TEST_F(CoreTest, ALoadAfterTheAnswerToAnUnloadIsNeverTakenForAnEarlierOne) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_TRUE(Take<EnsureReply>(0)[0].result);
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  std::vector<UnloadReply> answered;
  for (int i = 0; i < 30 && answered.empty(); ++i) {
    Pass(milliseconds(100));
    answered = Take<UnloadReply>(0);
  }
  ASSERT_EQ(answered.size(), 1u);
  EXPECT_TRUE(answered[0].result);
  Tell(1, EnsureModel{.ticket = 3, .model = SixLayers().id});
  Pass(seconds(1));
  const auto replies = Take<EnsureReply>(1);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_TRUE(replies[0].result) << replies[0].result.error().message;
}

TEST_F(CoreTest, AModelKeptRunningComesBackAfterARestart) {
  Add("a", 100 * kMiB, true);
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_EQ(nodes_[0].core->DesiredRecords().size(), 1u);
  Restart(0, 100 * kMiB, true);
  EXPECT_EQ(InstanceAt(0), nullptr);  // peers first
  Pass(seconds(5));
  ASSERT_NE(InstanceAt(0), nullptr);
  EXPECT_EQ(InstanceAt(0)->summary.state, wire::InstanceState::kReady);
}

TEST_F(CoreTest, AnUnloadedModelStaysUnloadedAfterARestartWithAWrongClock) {
  Add("a", 100 * kMiB, true);
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Restart(0, 100 * kMiB, true);
  Pass(seconds(10));
  EXPECT_EQ(InstanceAt(0), nullptr);
  // Nor does the old date keep it from being loaded again.
  Tell(0, EnsureModel{.ticket = 3, .model = SixLayers().id});
  ASSERT_EQ(nodes_[0].core->DesiredRecords().size(), 1u);
  EXPECT_EQ(nodes_[0].core->DesiredRecords()[0].state, wire::DesiredState::kRunning);
}

TEST_F(CoreTest, EveryMemberHoldsTheSameRecordsAlsoOneThatCameLater) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  EXPECT_TRUE(nodes_[1].core->DesiredRecords().empty());
  ConnectAll();
  EXPECT_EQ(nodes_[1].core->DesiredRecords(), nodes_[0].core->DesiredRecords());
  Tell(1, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(1));
  EXPECT_EQ(nodes_[1].core->DesiredRecords(), nodes_[0].core->DesiredRecords());
  EXPECT_EQ(nodes_[0].core->DesiredRecords()[0].state, wire::DesiredState::kUnloaded);
  EXPECT_TRUE(Take<UnloadReply>(1)[0].result);
}

TEST_F(CoreTest, AnUnloadIsAnsweredOnlyWhenEveryMemberKnowsOfIt) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  nodes_[1].alive = false;  // hangs: its session is still there
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(5));
  EXPECT_TRUE(Take<UnloadReply>(0).empty());
  Pass(seconds(2));  // dead now
  ASSERT_EQ(Take<UnloadReply>(0).size(), 1u);
}

TEST_F(CoreTest, ALoadThatDidNotKnowOfAnUnloadIsRefused) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const wire::HybridTime before = nodes_[0].core->DesiredRecords()[0].version;
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  // Sent before the unload, arrived after it.
  Tell(0, Received{nodes_[1].id, wire::EnsureInstance{.model = SixLayers().id, .known = before}});
  EXPECT_EQ(InstanceAt(0), nullptr);
}

}  // namespace
}  // namespace exo::cluster
