// Loads, refusals and what every node sees, in named situations of one to four nodes; the many
// unnamed ones are the simulation's.
#include "cluster/harness.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(CoreTest, OneNodeServesAlone) {
  Add("desk", 100 * kMiB, true);
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 1u);
  ASSERT_TRUE(replies[0].result) << replies[0].result.error().message;
  EXPECT_EQ(Take<StartServing>(0).size(), 1u);
  const wire::Submit submit = Ask();
  Tell(0, SubmitLocal{submit, SixLayers().id});
  EXPECT_EQ(Take<LeadSubmit>(0).size(), 1u);
  Tell(0, LeadEmitted{submit.request, {5, 6}});
  Tell(0, LeadFinished{{.request = submit.request, .generated = 2}});
  EXPECT_EQ(Take<RequestTokens>(0)[0].tokens, (std::vector<TokenId>{5, 6}));
  EXPECT_EQ(Take<RequestFinished>(0).size(), 1u);
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  EXPECT_EQ(nodes_[0].core->reserved_bytes(), 0u);
  Pass(seconds(1));
  EXPECT_TRUE(Take<UnloadReply>(0)[0].result);
}

TEST_F(CoreTest, RefusesWithTheSumsAtOnce) {
  Add("desk", 3 * kMiB, true);
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].result.error().code, ErrorCode::kOverloaded);
  EXPECT_NE(replies[0].result.error().message.find("3.0 MiB"), std::string::npos);
}

TEST_F(CoreTest, ANodeWithoutTheFileGetsTheRefusalOfTheOneWithIt) {
  Add("desk", kMiB, true);
  Add("phone", kMiB, false);
  ConnectAll();
  Tell(1, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto replies = Take<EnsureReply>(1);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_NE(replies[0].result.error().message.find("does not fit"), std::string::npos);
}

TEST_F(CoreTest, ThreeNodesHoldWhatOneCannotAndAnyOfThemAsks) {
  for (const char* name : {"a", "b", "c"}) Add(name, 5 * kMiB / 2, name[0] == 'a');
  ConnectAll();
  Tell(2, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto replies = Take<EnsureReply>(2);
  ASSERT_EQ(replies.size(), 1u);
  ASSERT_TRUE(replies[0].result) << replies[0].result.error().message;
  EXPECT_EQ(replies[0].result->plan.stages.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_GT(nodes_[i].core->reserved_bytes(), 0u);
    EXPECT_EQ(nodes_[i].core->Instances().size(), 1u);
  }
  Tell(1, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(3));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(nodes_[i].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, AFailedLoadIsRefusedWithItsReason) {
  Add("a", 100 * kMiB, true);
  loading_ = false;
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto loads = Take<StartLoad>(0);
  ASSERT_EQ(loads.size(), 1u);
  Tell(0, LoadFinished{loads[0].plan.id, Fail(ErrorCode::kCorrupt, "bad hash"), 1});
  const auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].result.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(replies[0].result.error().message.find("bad hash"), std::string::npos);
  EXPECT_EQ(nodes_[0].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, EveryNodeSeesWhyAndHowFastAndWhoWaits) {
  for (const char* name : {"a", "b", "c"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  Tell(2, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const auto reply = Take<EnsureReply>(2)[0].result;
  ASSERT_TRUE(reply);
  EXPECT_GT(reply->expected.decode_tokens_per_second, 0);
  EXPECT_EQ(reply->expected.basis, wire::PlanBasis::kFastest);
  Tell(1, SubmitLocal{Ask(), SixLayers().id});
  Tell(1, SubmitLocal{Ask(), SixLayers().id});
  Pass(milliseconds(200));
  Tell(0, LocalLoad{reply->plan.id, 1});
  Pass(seconds(2));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(InstanceAt(i)->summary.active_requests, 1u);
    EXPECT_EQ(InstanceAt(i)->summary.queued_requests, 1u);
  }
}

TEST_F(CoreTest, ANodeWithoutTheFilePlansLikeTheOneWithIt) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  for (size_t i = 0; i < 2; ++i) Tell(i, PlanModel{.ticket = 7, .model = SixLayers().id});
  const auto at_a = Take<PlanMade>(0), at_b = Take<PlanMade>(1);
  ASSERT_EQ(at_a.size(), 1u);
  ASSERT_EQ(at_b.size(), 1u);
  ASSERT_TRUE(at_a[0].result && at_b[0].result);
  EXPECT_EQ(at_a[0].result->plan, at_b[0].result->plan);
  EXPECT_EQ(at_a[0].result->expected, at_b[0].result->expected);
  EXPECT_EQ(nodes_[0].core->reserved_bytes(), 0u);
}

TEST_F(CoreTest, APlanAsIfADeviceWereAway) {
  for (const char* name : {"a", "b"}) Add(name, 100 * kMiB, name[0] == 'a');
  ConnectAll();
  for (size_t away = 0; away < 2; ++away)
    Tell(0, PlanModel{.ticket = away, .model = SixLayers().id, .without = {nodes_[away].id}});
  const auto made = Take<PlanMade>(0);
  ASSERT_EQ(made.size(), 2u);
  for (size_t away = 0; away < 2; ++away) {
    ASSERT_TRUE(made[away].result);
    EXPECT_EQ(wire::StageOf(made[away].result->plan, nodes_[away].id), -1);
  }
}

TEST_F(CoreTest, ProgressOfALoadIsReportedNowAndThen) {
  Add("a", kMiB, true);
  Add("b", 100 * kMiB, false);
  ConnectAll();
  loading_ = false;
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const PlanId plan = nodes_[0].core->Instances()[0].summary.plan.id;
  size_t sent = 0;
  for (uint64_t i = 1; i <= 1000; ++i) {
    now_ += milliseconds(1);
    for (const Effect& effect :
         nodes_[1].core->Step(LoadProgressed{plan, i * kMiB, 1000 * kMiB}, now_)) {
      const auto* send = std::get_if<Send>(&effect);
      sent += send != nullptr && std::holds_alternative<wire::LoadProgress>(send->message);
    }
  }
  EXPECT_GE(sent, 2u);
  EXPECT_LE(sent, 3u);
}

TEST_F(CoreTest, HostileMessagesChangeNothing) {
  Add("a", 100 * kMiB, true);
  Add("b", 100 * kMiB, false);
  ConnectAll();
  wire::Plan plan{.owner = nodes_[1].id, .layers = 1, .context = 16, .kv_pages = 1, .chunk = 16};
  plan.stages.push_back(
      {.node = nodes_[0].id, .layer_begin = 0, .layer_end = 1, .bytes = ~uint64_t{0}});
  const std::vector<wire::Message> hostile = {
      wire::Reserve{plan},  // id is not the hash
      wire::Reserve{[&] {
        auto p = plan;
        p.id = ComputePlanId(p);
        return p;
      }()},  // too large
      wire::Commit{},
      wire::Loaded{},
      wire::InstanceReady{},
      wire::LeaseRenew{},
      wire::Release{},
      wire::ReserveReply{},
      wire::Tokens{},
      wire::Finished{},
      wire::Submit{},
      wire::CancelRequest{},
      wire::LoadProgress{},
      wire::InstanceSummary{.plan = plan},
      wire::InstanceSummary{.owner = nodes_[1].id},
      wire::InstanceLoad{},
      wire::EnsureRefused{},
      wire::EnsureInstance{},
      wire::DesiredAck{},
      wire::PlanReply{},
      wire::PlanRequest{},
      wire::NodeUpdate{},
      wire::Step{},
      wire::Hello{},
      wire::Heartbeat{.sequence = ~uint64_t{0}, .echo = ~uint64_t{0}}};
  for (const wire::Message& message : hostile) Tell(0, Received{nodes_[1].id, message});
  EXPECT_EQ(nodes_[0].core->reserved_bytes(), 0u);
  EXPECT_TRUE(nodes_[0].core->Instances().empty());
  NodeId stranger;
  stranger.bytes[0] = 99;
  Tell(0, Received{stranger, wire::Heartbeat{}});  // no session
  EXPECT_EQ(See(0, 1), PeerState::kAlive);
}

}  // namespace
}  // namespace exo::cluster
