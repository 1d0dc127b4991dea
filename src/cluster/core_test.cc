// Named situations of two to four nodes; the many unnamed ones are the simulation's.
#include "cluster/core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "wire/plan.h"

namespace exo::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ModelShape SixLayers() {
  ModelShape shape{.name = "m", .width = 8, .trained_context = 64};
  shape.id.bytes[0] = 77;
  shape.layer_bytes.assign(6, kMiB);
  shape.kv_bytes_per_position = {1, 2};
  return shape;
}

// Cores whose messages arrive at once; loads and stops end at once, unless `loading` is off.
class CoreTest : public testing::Test {
 protected:
  struct Node {
    NodeId id;
    std::unique_ptr<Core> core;
    bool alive = true;
    std::vector<Effect> effects;  // but Send and Changed
  };

  void Add(std::string name, uint64_t budget, bool holds) {
    Node& node = nodes_.emplace_back();
    node.id.bytes[0] = static_cast<uint8_t>(nodes_.size());
    node.core = std::make_unique<Core>(
        CoreOptions{.self = node.id, .name = name, .incarnation = 1, .seed = 5});
    wire::NodeRecord record{
        .devices = {{.memory_budget = budget, .decode_gbps = 1, .prefill_gops = 1}}};
    if (holds) record.models.push_back({.id = SixLayers().id});
    Tell(nodes_.size() - 1, Tick{.wall_ms = 1000});
    Tell(nodes_.size() - 1, LocalRecord{record});
    if (holds) Tell(nodes_.size() - 1, LocalModels{{SixLayers()}});
  }
  void ConnectAll() {
    for (size_t a = 0; a < nodes_.size(); ++a) {
      for (size_t b = 0; b < nodes_.size(); ++b) {
        if (a != b) Tell(a, SessionUp{.peer = nodes_[b].id, .boot_nonce = 1}, false);
      }
    }
    Deliver();
  }
  void Tell(size_t to, const Event& event, bool deliver = true) {
    Node& node = nodes_[to];
    if (!node.alive) return;
    for (Effect& effect : node.core->Step(event, now_)) {
      if (auto* send = std::get_if<Send>(&effect)) {
        under_way_.push_back({node.id, send->peer, std::move(send->message)});
      } else if (auto* load = std::get_if<StartLoad>(&effect); load && loading_) {
        Tell(to, LoadFinished{load->plan.id, {}, 3}, false);
        node.effects.push_back(effect);
      } else if (auto* stop = std::get_if<StopInstance>(&effect)) {
        const PlanId plan = stop->plan;
        node.effects.push_back(effect);
        Tell(to, StageStopped{plan}, false);
      } else {
        node.effects.push_back(std::move(effect));
      }
    }
    if (deliver) Deliver();
  }
  void Deliver() {
    while (!under_way_.empty()) {
      const auto [from, to, message] = std::move(under_way_.front());
      under_way_.pop_front();
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (nodes_[i].id == to) Tell(i, Received{from, message}, false);
      }
    }
  }
  void Pass(Time time) {
    for (const Time end = now_ + time; now_ < end;) {
      now_ += milliseconds(100);
      for (size_t i = 0; i < nodes_.size(); ++i) Tell(i, Tick{});
    }
  }
  // The process ends: its peers see their sessions break.
  void Kill(size_t which) {
    nodes_[which].alive = false;
    for (size_t i = 0; i < nodes_.size(); ++i)
      Tell(i, SessionDown{nodes_[which].id, "connection reset"});
  }
  template <class E>
  std::vector<E> Take(size_t node) {
    std::vector<E> found;
    std::erase_if(nodes_[node].effects, [&](const Effect& effect) {
      if (auto* e = std::get_if<E>(&effect)) found.push_back(*e);
      return std::holds_alternative<E>(effect);
    });
    return found;
  }
  const InstanceStatus* InstanceAt(size_t node) {
    seen_ = nodes_[node].core->Instances();
    return seen_.size() == 1 ? &seen_[0] : nullptr;
  }
  // The device `node` with a fresh process and what it had kept on disk.
  void Restart(size_t node, uint64_t budget, bool holds) {
    std::vector<wire::DesiredModel> disk;
    for (const SaveDesired& save : Take<SaveDesired>(node)) disk = save.records;
    const NodeId id = nodes_[node].id;
    nodes_[node].effects.clear();
    nodes_[node].core = std::make_unique<Core>(
        CoreOptions{.self = id, .name = "again", .incarnation = 2, .seed = 6});
    nodes_[node].alive = true;
    wire::NodeRecord record{
        .devices = {{.memory_budget = budget, .decode_gbps = 1, .prefill_gops = 1}}};
    if (holds) record.models.push_back({.id = SixLayers().id});
    Tell(node, Tick{.wall_ms = 1});  // its clock is wrong
    Tell(node, RestoreDesired{disk});
    Tell(node, LocalRecord{record});
    if (holds) Tell(node, LocalModels{{SixLayers()}});
  }
  wire::Submit Ask() {
    wire::Submit submit{.prompt = {1, 2}, .prompt_tokens = 2, .max_new_tokens = 9};
    submit.request.bytes[0] = ++requests_;
    return submit;
  }
  size_t IndexOf(const NodeId& id) const { return id.bytes[0] - 1u; }
  // The model on two devices, owned by the first one.
  wire::Plan PlaceOverTwo() {
    Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
    const auto replies = Take<EnsureReply>(0);
    EXPECT_TRUE(replies.size() == 1 && replies[0].result);
    const wire::Plan plan = replies.at(0).result.value().plan;
    EXPECT_EQ(plan.stages.size(), 2u);
    return plan;
  }
  size_t OtherThanFirst(const wire::Plan& plan) const {
    return IndexOf(plan.stages[plan.stages[0].node == nodes_[0].id ? 1 : 0].node);
  }
  PeerState See(size_t node, size_t peer) {
    for (const NodeStatus& status : nodes_[node].core->Nodes()) {
      if (status.record.id == nodes_[peer].id) return status.state;
    }
    return PeerState::kUnknown;
  }

  Time now_ = seconds(100);
  bool loading_ = true;
  uint8_t requests_ = 0;
  std::vector<InstanceStatus> seen_;
  std::deque<Node> nodes_;
  struct UnderWay {
    NodeId from, to;
    wire::Message message;
  };
  std::deque<UnderWay> under_way_;
};

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
  const auto finished = Take<RequestFinished>(0);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished.code, ErrorCode::kDisconnected);
  const std::string& words = finished[0].finished.message;
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

ModelShape Other(uint8_t number) {
  ModelShape shape = SixLayers();
  shape.id.bytes[0] = number;
  return shape;
}

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
