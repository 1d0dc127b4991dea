// Requests from their entry to a lead and back: who may end them, and what becomes of them when a
// device is lost.
#include <algorithm>

#include "cluster/harness.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Node a leads; b is the entry of a request, c a third member.
TEST_F(CoreTest, OnlyItsEntryCancelsOrPausesARequest) {
  Add("a", 100 * kMiB, true);
  for (const char* name : {"b", "c"}) Add(name, 1 * kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const PlanId plan = Take<EnsureReply>(0)[0].result->plan.id;
  const wire::Submit submit = Ask();
  Tell(1, SubmitLocal{submit, SixLayers().id});
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u);
  const auto tell = [&](size_t from, const wire::Message& message) {
    Tell(0, Received{nodes_[from].id, message});
  };
  PlanId other = plan;
  ++other.bytes[0];
  tell(2, wire::CancelRequest{submit.request, plan});
  tell(1, wire::CancelRequest{submit.request, other});
  tell(2, wire::PauseRequest{submit.request, plan, true});
  tell(1, wire::PauseRequest{submit.request, other, true});
  EXPECT_TRUE(Take<LeadCancel>(0).empty());
  EXPECT_TRUE(Take<LeadPause>(0).empty());
  Tell(0, LeadEmitted{submit.request, {5}});
  EXPECT_EQ(Take<RequestTokens>(1).size(), 1u) << "it goes on";

  Tell(1, PauseLocal{submit.request, true});
  Tell(1, PauseLocal{submit.request, true});
  const auto pauses = Take<LeadPause>(0);
  ASSERT_EQ(pauses.size(), 1u);
  EXPECT_TRUE(pauses[0].paused);
  EXPECT_EQ(pauses[0].plan, plan);
  Tell(1, PauseLocal{submit.request, false});
  EXPECT_FALSE(Take<LeadPause>(0).at(0).paused);
  Tell(1, CancelLocal{submit.request});
  EXPECT_EQ(Take<LeadCancel>(0).size(), 1u);
}

TEST_F(CoreTest, TheEndUnderAFormerPlanIsNotTheEndOfARequest) {
  Add("a", 100 * kMiB, true);
  Add("b", 1 * kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  PlanId other = Take<EnsureReply>(0)[0].result->plan.id;
  ++other.bytes[0];
  const wire::Submit submit = Ask();
  Tell(1, SubmitLocal{submit, SixLayers().id});
  Tell(1, Received{nodes_[0].id, wire::Finished{.request = submit.request,
                                                .reason = wire::FinishReason::kError,
                                                .plan = other}});
  EXPECT_TRUE(Take<RequestFinished>(1).empty());
  Tell(0, LeadFinished{{.request = submit.request, .reason = wire::FinishReason::kStop}});
  EXPECT_EQ(Take<RequestFinished>(1).size(), 1u) << "the lead's own end names the plan";
}

// A cancel that is lost with its session: the lead must speak to learn of it.
TEST_F(CoreTest, APausedRequestWhoseCancelWasLostEndsAfterTheSessionIsBack) {
  Add("a", 100 * kMiB, true);
  Add("b", 1 * kMiB, false);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  const wire::Submit submit = Ask();
  Tell(1, SubmitLocal{submit, SixLayers().id});
  Tell(1, PauseLocal{submit.request, true});
  ASSERT_EQ(Take<LeadPause>(0).size(), 1u);
  for (size_t i = 0; i < 2; ++i) Tell(i, SessionDown{nodes_[1 - i].id, "reset"});
  Tell(1, CancelLocal{submit.request}, false);
  under_way_.clear();
  ConnectAll();
  EXPECT_FALSE(Take<LeadPause>(0).at(0).paused);
  Tell(0, LeadEmitted{submit.request, {5}});
  EXPECT_EQ(Take<LeadCancel>(0).size(), 1u);
  EXPECT_EQ(nodes_[0].core->lead_requests(), 0u);
}

// What mirostat remembers was not told, so nobody can go on with the answer.
TEST_F(CoreTest, ALostDeviceEndsAnswersWithItsNameAndLayersAndTheModelComesBack) {
  for (const char* name : {"a", "b", "c"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  const wire::Plan plan = PlaceOverTwo();
  const size_t victim = OtherThanFirst(plan);
  wire::Submit submit = Ask();
  submit.sampler.mirostat = true;
  Tell(0, SubmitLocal{submit, SixLayers().id});
  Tell(IndexOf(plan.stages[0].node), LeadEmitted{submit.request, {5}});  // the client has seen it
  Kill(victim);
  EXPECT_EQ(See(0, victim), PeerState::kConnecting);
  Pass(milliseconds(2200));
  EXPECT_EQ(See(0, victim), PeerState::kDead);
  const auto lost = Take<RequestLost>(0);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_FALSE(lost[0].goes_on);
  EXPECT_EQ(lost[0].generated, 1u);
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished.code, ErrorCode::kDisconnected);
  const std::string& words = finished[0].finished.message;
  EXPECT_EQ(lost[0].why, words);
  EXPECT_NE(words.find(victim == 1 ? "lost b" : "lost c"), std::string::npos) << words;
  EXPECT_NE(words.find("layers"), std::string::npos) << words;
  Pass(seconds(5));
  const auto instances = nodes_[0].core->Instances();
  ASSERT_EQ(instances.size(), 1u);
  EXPECT_EQ(instances[0].summary.state, wire::InstanceState::kReady);
  EXPECT_NE(instances[0].summary.plan.id, plan.id);
  EXPECT_LT(StageOf(instances[0].summary.plan, nodes_[victim].id), 0);
}

// The next lead gets what was passed on as a part of the prompt, with what sampling remembers.
TEST_F(CoreTest, AnAnswerGoesOnBehindItsTokensWhenItsDeviceIsLost) {
  for (const char* name : {"a", "b", "c", "d"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  wire::Submit submit = Ask();
  submit.sampler.mirostat = true;
  const wire::Plan plan = PlaceOverTwo();
  Tell(0, SubmitLocal{submit, SixLayers().id});
  const wire::SamplerState state = {.begun = true, .mirostat_mu = 3};
  Tell(IndexOf(plan.stages[0].node),
       LeadEmitted{.request = submit.request, .tokens = {5, 6}, .state = state});
  Kill(OtherThanFirst(plan));
  Pass(seconds(5));
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  const auto lost = Take<RequestLost>(0);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_TRUE(lost[0].goes_on);
  EXPECT_EQ(lost[0].generated, 2u);
  EXPECT_NE(lost[0].why.find("lost "), std::string::npos) << lost[0].why;
  ASSERT_NE(InstanceAt(0), nullptr);
  const wire::Plan again = InstanceAt(0)->summary.plan;
  const size_t lead = IndexOf(again.stages[0].node);
  std::vector<TokenId> prompt = submit.prompt;
  prompt.insert(prompt.end(), {5, 6});
  auto submitted = Take<LeadSubmit>(lead);
  std::erase_if(submitted, [&](const LeadSubmit& one) { return one.submit.plan != again.id; });
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].submit.prompt, prompt);
  EXPECT_EQ(submitted[0].submit.prompt_tokens, submit.prompt.size());
  EXPECT_EQ(submitted[0].submit.state, state);
  Take<RequestTokens>(0);
  const std::vector<wire::StageTime> stages = {{.layer_end = 3, .microseconds = 5}};
  Tell(lead, LeadEmitted{.request = submit.request, .tokens = {7}, .stages = stages});
  const auto news = Take<RequestTokens>(0);
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].tokens, std::vector<TokenId>{7});
  EXPECT_EQ(news[0].stages, stages);
  Tell(lead, LeadFinished{{.request = submit.request, .generated = 3}});
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished.reason, wire::FinishReason::kStop);
  EXPECT_EQ(finished[0].finished.generated, 3u);
  EXPECT_EQ(finished[0].stages, again.stages);
}

// What rows lose between devices depends on where layers are divided: the same division goes on
// with the same text.
TEST_F(CoreTest, AnAnswerOverALossyWireGoesOnWhereRowsLoseTheSameBits) {
  for (const char* name : {"a", "b", "c", "d"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  const wire::Plan plan = PlaceOverTwo(wire::Codec::kInt8);
  EXPECT_EQ(plan.codec, wire::Codec::kInt8);
  const wire::Submit submit = Ask();
  Tell(0, SubmitLocal{submit, SixLayers().id});
  Tell(IndexOf(plan.stages[0].node), LeadEmitted{submit.request, {5}});
  Kill(OtherThanFirst(plan));
  Pass(seconds(5));
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  const wire::Plan again = InstanceAt(0)->summary.plan;
  ASSERT_NE(again.id, plan.id);
  ASSERT_EQ(wire::LossOf(again), wire::LossOf(plan)) << "the model's record keeps the codec";
  const auto submitted = Take<LeadSubmit>(IndexOf(again.stages[0].node));
  ASSERT_FALSE(submitted.empty());
  EXPECT_EQ(submitted.back().submit.plan, again.id);
  EXPECT_EQ(submitted.back().submit.prompt.back(), 5);
}

TEST_F(CoreTest, AnAnswerOverALossyWireNeverGoesOnAsAnotherText) {
  for (const char* name : {"a", "b"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  const wire::Plan plan = PlaceOverTwo(wire::Codec::kInt4);
  const wire::Submit submit = Ask(), fresh = Ask();
  ASSERT_NE(submit.request, fresh.request);
  Tell(0, SubmitLocal{submit, SixLayers().id});
  Tell(0, SubmitLocal{fresh, SixLayers().id});
  Tell(IndexOf(plan.stages[0].node), LeadEmitted{submit.request, {5}});
  Add("big", 100 * kMiB, false);
  ConnectAll();
  Kill(OtherThanFirst(plan));
  Pass(seconds(5));
  ASSERT_NE(InstanceAt(0), nullptr);
  EXPECT_EQ(wire::LossOf(InstanceAt(0)->summary.plan), wire::WireLoss{}) << "one device holds it";
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u) << "nobody has seen anything of the other one";
  EXPECT_EQ(finished[0].finished.request, submit.request);
  EXPECT_EQ(finished[0].finished.code, ErrorCode::kDisconnected);
  EXPECT_TRUE(finished[0].finished.message.contains("another text"))
      << finished[0].finished.message;
  EXPECT_EQ(finished[0].codec, wire::Codec::kInt4) << "of what was computed";
}

// Nobody has seen anything of such an answer: it begins again elsewhere, once.
TEST_F(CoreTest, ARequestWithoutATokenIsPlacedAgainWhenItsDeviceIsLost) {
  for (const char* name : {"a", "b", "c", "d"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  const wire::Submit submit = Ask();
  const wire::Plan plan = PlaceOverTwo();
  Tell(0, SubmitLocal{submit, SixLayers().id});
  EXPECT_EQ(Take<LeadSubmit>(IndexOf(plan.stages[0].node)).size(), 1u);
  Kill(OtherThanFirst(plan));
  Pass(seconds(5));
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  ASSERT_NE(InstanceAt(0), nullptr);
  const wire::Plan again = InstanceAt(0)->summary.plan;
  EXPECT_NE(again.id, plan.id);
  const size_t lead = IndexOf(again.stages[0].node);
  const auto submitted = Take<LeadSubmit>(lead);
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].submit.prompt, submit.prompt);
  EXPECT_EQ(submitted[0].submit.plan, again.id);
  // It may be what ends them: no third device is risked.
  Kill(OtherThanFirst(again));
  Pass(milliseconds(2200));
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished.code, ErrorCode::kDisconnected);
  EXPECT_EQ(finished[0].stages, again.stages);
}

TEST_F(CoreTest, ARequestThatCannotBePlacedAgainEndsAtOnceWithTheReason) {
  for (const char* name : {"a", "b"}) Add(name, 4 * kMiB, name[0] == 'a');
  ConnectAll();
  PlaceOverTwo();
  Tell(0, SubmitLocal{Ask(), SixLayers().id});
  Kill(1);
  Pass(milliseconds(2200));
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished.code, ErrorCode::kDisconnected);
  const std::string& words = finished[0].finished.message;
  EXPECT_NE(words.find("lost b"), std::string::npos) << words;
  EXPECT_NE(words.find("do not hold the model"), std::string::npos) << words;
}

}  // namespace
}  // namespace exo::cluster
