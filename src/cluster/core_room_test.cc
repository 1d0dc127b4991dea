// Memory for models: who makes room for whom, and when it is given back.
#include <algorithm>

#include "cluster/harness.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

using std::chrono::seconds;

TEST_F(CoreTest, IdleModelsMakeRoomTheLongestIdleFirst) {
  Add("a", 15 * kMiB, false);
  std::vector<ModelShape> shapes = {Other(1), Other(2), Other(3)};
  Tell(0, LocalModels{shapes});
  for (uint8_t i = 1; i <= 3; ++i) {
    Tell(0, EnsureModel{.ticket = i, .model = Other(i).id});
    Pass(seconds(3));
    const auto replies = Take<EnsureReply>(0);
    ASSERT_EQ(replies.size(), 1u);
    ASSERT_TRUE(replies[0].result) << int{i} << replies[0].result.error().message;
  }
  // 6 MiB each: the first one is gone, but known as one that the next request loads again.
  std::vector<ModelId> running;
  for (const auto& instance : nodes_[0].core->Instances())
    running.push_back(instance.summary.plan.model);
  std::sort(running.begin(), running.end());
  EXPECT_EQ(running, (std::vector<ModelId>{Other(2).id, Other(3).id}));
  EXPECT_EQ(nodes_[0].core->DesiredRecords()[0].state, wire::DesiredState::kOnDemand);
  Tell(0, EnsureModel{.ticket = 4, .model = Other(1).id});
  Pass(seconds(3));
  EXPECT_TRUE(Take<EnsureReply>(0)[0].result);
}

TEST_F(CoreTest, AModelThatNobodyAsksGivesItsMemoryBack) {
  Add("a", 100 * kMiB, true);
  Add("b", 100 * kMiB, false);
  ConnectAll();
  Tell(1, EnsureModel{
              .ticket = 1, .model = SixLayers().id, .named = wire::kNamedKeep, .keep_ms = 20'000});
  Pass(seconds(3));
  ASSERT_TRUE(Take<EnsureReply>(1)[0].result);
  Pass(seconds(12));
  EXPECT_FALSE(nodes_[0].core->Instances().empty());
  const wire::Submit ask = Ask();
  Tell(1, SubmitLocal{ask, SixLayers().id});
  Pass(seconds(22));
  ASSERT_FALSE(nodes_[0].core->Instances().empty()) << "it is asked";
  // Whoever asks next says how long.
  Tell(0, EnsureModel{
              .ticket = 2, .model = SixLayers().id, .named = wire::kNamedKeep, .keep_ms = 40'000});
  Pass(seconds(1));
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(nodes_[i].core->DesiredRecords()[0].keep_ms, 40'000u) << i;
  // Nor does one that says nothing about it.
  Tell(0, EnsureModel{.ticket = 3, .model = SixLayers().id});
  Pass(seconds(1));
  EXPECT_EQ(nodes_[0].core->DesiredRecords()[0].keep_ms, 40'000u);
  const size_t lead = IndexOf(InstanceAt(0)->summary.plan.stages[0].node);
  Tell(lead, LeadFinished{{.request = ask.request, .generated = 3}});
  Pass(seconds(35));
  EXPECT_FALSE(nodes_[0].core->Instances().empty());
  Pass(seconds(10));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(nodes_[i].core->Instances().empty()) << i;
    EXPECT_EQ(nodes_[i].core->DesiredRecords()[0].state, wire::DesiredState::kOnDemand) << i;
  }
}

TEST_F(CoreTest, AModelKeptUntilItIsIdleIsKeptNoLongerOnce) {
  Add("a", 100 * kMiB, true);
  const EnsureModel once{.ticket = 1,
                         .model = SixLayers().id,
                         .named = wire::kNamedKeep,
                         .keep_ms = wire::kKeepUntilIdle};
  Tell(0, once);
  Pass(seconds(5));
  ASSERT_TRUE(Take<EnsureReply>(0)[0].result);
  EXPECT_TRUE(nodes_[0].core->Instances().empty());
  const wire::DesiredModel record = nodes_[0].core->DesiredRecords()[0];
  EXPECT_EQ(record.state, wire::DesiredState::kOnDemand);
  EXPECT_EQ(record.keep_ms, 0u);
  Tell(0, EnsureModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(30));
  EXPECT_FALSE(nodes_[0].core->Instances().empty());
}

TEST_F(CoreTest, APinnedModelMakesNoRoom) {
  Add("a", 10 * kMiB, false);
  Tell(0, LocalModels{{Other(1), Other(2)}});
  Tell(0, EnsureModel{.ticket = 1,
                      .model = Other(1).id,
                      .named = wire::kNamedKeep,
                      .keep_ms = wire::kKeepAlways});
  Pass(seconds(5));
  Tell(0, EnsureModel{.ticket = 2, .model = Other(2).id});
  Pass(seconds(10));
  auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 2u);
  ASSERT_FALSE(replies[1].result);
  EXPECT_NE(replies[1].result.error().message.find("pinned models hold"), std::string::npos)
      << replies[1].result.error().message;
  EXPECT_EQ(InstanceAt(0)->summary.plan.model, Other(1).id);
  Tell(0, EnsureModel{.ticket = 3, .model = Other(1).id, .named = wire::kNamedKeep, .keep_ms = 0});
  Pass(seconds(3));
  Tell(0, EnsureModel{.ticket = 4, .model = Other(2).id});
  Pass(seconds(5));
  replies = Take<EnsureReply>(0);
  EXPECT_TRUE(replies.back().result) << "not pinned any more";
}

TEST_F(CoreTest, ABusyModelDoesNotMakeRoom) {
  Add("a", 10 * kMiB, false);
  Tell(0, LocalModels{{Other(1), Other(2)}});
  Tell(0, EnsureModel{.ticket = 1, .model = Other(1).id});
  Tell(0, SubmitLocal{Ask(), Other(1).id});
  Pass(seconds(5));
  EXPECT_EQ(InstanceAt(0)->summary.active_requests, 1u);
  Tell(0, EnsureModel{.ticket = 2, .model = Other(2).id});
  Pass(seconds(10));
  const auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 2u);
  EXPECT_FALSE(replies[1].result);
  EXPECT_EQ(InstanceAt(0)->summary.plan.model, Other(1).id);
}

TEST_F(CoreTest, SeventyModelsOneAfterTheOther) {
  Add("a", 100000 * kMiB, false);
  std::vector<ModelShape> shapes;
  for (uint8_t i = 1; i <= 70; ++i) shapes.push_back(Other(i));
  Tell(0, LocalModels{shapes});
  for (uint8_t i = 1; i <= 70; ++i) {
    Tell(0, EnsureModel{.ticket = i, .model = Other(i).id});
    Pass(seconds(2));
    const auto replies = Take<EnsureReply>(0);
    ASSERT_EQ(replies.size(), 1u) << int{i};
    ASSERT_TRUE(replies[0].result) << int{i} << replies[0].result.error().message;
  }
}

TEST_F(CoreTest, AClaimBelowWhatTheCacheTakesIsDenied) {
  Add("a", 100 * kMiB, true);
  Add("b", 100 * kMiB, false);
  ConnectAll();
  wire::Plan plan{.owner = nodes_[1].id, .layers = 2, .context = 64, .kv_pages = 2, .chunk = 16};
  plan.stages.push_back({.node = nodes_[0].id, .layer_end = 2, .bytes = 255});
  plan.id = ComputePlanId(plan);
  Tell(0, Received{nodes_[1].id, wire::Reserve{plan}});
  EXPECT_EQ(nodes_[0].core->reserved_bytes(), 0u);
}

}  // namespace
}  // namespace exo::cluster
