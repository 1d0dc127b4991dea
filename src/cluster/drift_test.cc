#include "cluster/drift.h"

#include <algorithm>

#include "cluster/harness.h"

namespace exo::cluster {
namespace {

using std::chrono::seconds;

// Devices that change, and where the model is then.
class DriftTest : public CoreTest {
 protected:
  void AddDevices(const std::vector<uint64_t>& budgets) {
    for (const uint64_t budget : budgets)
      Add(std::string("n") + std::to_string(nodes_.size()), budget, true);
    ConnectAll();
    Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
    plan_ = Take<EnsureReply>(0).at(0).result.value().plan;
  }
  // Its record says so from now on.
  void Change(size_t node, double gbps, uint32_t withheld = 0, uint64_t budget = 0) {
    wire::NodeRecord record = nodes_[node].core->Nodes()[0].record;
    record.devices[0].decode_gbps = gbps;
    record.devices[0].prefill_gops = gbps;
    if (budget != 0) record.devices[0].memory_budget = budget;
    record.health.withheld = withheld;
    record.health.reasons = withheld > 0 ? wire::kLowCharge : 0;
    Tell(node, LocalRecord{record});
  }
  // What one end says of its way to another.
  void SetLink(size_t from, size_t to, double rtt_ms, double mbps) {
    wire::NodeRecord record = nodes_[from].core->Nodes()[0].record;
    std::erase_if(record.links, [&](const auto& link) { return link.to == nodes_[to].id; });
    record.links.push_back({.to = nodes_[to].id, .rtt_ms = rtt_ms, .mbps = mbps, .measured_s = 1});
    Tell(from, LocalRecord{record});
  }
  void LinkAll(double rtt_ms, double mbps) {
    for (size_t a = 0; a < nodes_.size(); ++a) {
      for (size_t b = 0; b < nodes_.size(); ++b) {
        if (a != b) SetLink(a, b, rtt_ms, mbps);
      }
    }
  }
  wire::Plan Now() {
    const InstanceStatus* instance = InstanceAt(0);
    return instance == nullptr ? wire::Plan{} : instance->summary.plan;
  }
  std::vector<size_t> PlacesOf(const wire::Plan& plan) const {
    std::vector<size_t> places;
    for (const wire::StagePlan& stage : plan.stages) places.push_back(IndexOf(stage.node));
    return places;
  }
  uint32_t LayersOf(const wire::Plan& plan, size_t node) const {
    for (const wire::StagePlan& stage : plan.stages) {
      if (IndexOf(stage.node) == node) return stage.layer_end - stage.layer_begin;
    }
    return 0;
  }
  // The lead computes one token for each request that it has.
  void Answer(size_t lead, const RequestId& request, TokenId token, uint32_t computed = 0) {
    Tell(lead, LeadEmitted{.request = request, .tokens = {token}, .computed = computed});
  }
  // A model on device 0 that is on its way to device 1: the plan that is loading there.
  wire::Plan BeginToMove() {
    AddDevices({16 * kMiB, 16 * kMiB});
    Take<StartLoad>(0);
    loading_ = false;
    Change(0, 1, wire::kAllWithheld);
    Pass(seconds(15));
    const auto loads = Take<StartLoad>(1);
    EXPECT_EQ(loads.size(), 1u);
    return loads.empty() ? wire::Plan{} : loads[0].plan;
  }
  wire::Plan plan_;
};

TEST_F(DriftTest, LayersMoveFromADeviceThatBecameSlow) {
  AddDevices({5 * kMiB, 5 * kMiB});
  ASSERT_EQ(plan_.stages.size(), 2u);
  const uint32_t layers = LayersOf(plan_, 0);
  ASSERT_GE(layers, 3u);
  Pass(seconds(3));
  Change(0, 0.1);
  Pass(seconds(9));
  EXPECT_EQ(Now().id, plan_.id) << "too early";
  Pass(seconds(3));
  EXPECT_NE(Now().id, plan_.id);
  EXPECT_LT(LayersOf(Now(), 0), layers);
  EXPECT_EQ(InstanceAt(0)->summary.state, wire::InstanceState::kReady);
}

TEST_F(DriftTest, AModelStaysDividedAsItWasLoaded) {
  for (const char* name : {"a", "b"}) Add(name, 16 * kMiB, true);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id, .split = wire::Split::kLayer});
  Tell(0, EnsureModel{.ticket = 2, .model = SixLayers().id});  // for a request
  ASSERT_EQ(LayersOf(Now(), 1), 3u);
  Pass(seconds(3));
  Change(1, 0.1);
  Pass(seconds(15));
  EXPECT_EQ(LayersOf(Now(), 1), 1u);
}

TEST_F(DriftTest, AModelLeavesALinkThatBecameSlow) {
  for (const double slow_mbps : {0.0, 0.0001}) {
    SCOPED_TRACE(slow_mbps);
    nodes_.clear();
    AddDevices({5 * kMiB, 5 * kMiB, 5 * kMiB});
    LinkAll(0.5, 900);
    Pass(seconds(15));
    plan_ = Now();
    ASSERT_EQ(plan_.stages.size(), 2u);
    const auto first = PlacesOf(plan_);
    // As both ends say, or only the one that sees it first.
    SetLink(first[0], first[1], slow_mbps > 0 ? 0.5 : 80, slow_mbps > 0 ? slow_mbps : 900);
    Pass(seconds(9));
    EXPECT_EQ(Now().id, plan_.id) << "too early";
    Pass(seconds(5));
    EXPECT_NE(Now().id, plan_.id);
    auto places = PlacesOf(Now()), old = first;
    std::ranges::sort(places);
    std::ranges::sort(old);
    EXPECT_NE(places, old) << "over the same link";
  }
}

TEST_F(DriftTest, AFasterLinkAndOneThatTheModelDoesNotUseMoveNothing) {
  AddDevices({5 * kMiB, 5 * kMiB, 5 * kMiB});
  LinkAll(20, 900);
  Pass(seconds(15));
  plan_ = Now();
  const auto used = PlacesOf(plan_);
  ASSERT_EQ(used.size(), 2u);
  for (size_t other = 0; other < 3; ++other) {
    if (std::ranges::find(used, other) != used.end()) continue;
    SetLink(used[0], other, 500, 1);
    SetLink(used[1], other, 500, 1);
  }
  SetLink(used[0], used[1], 1, 900);
  SetLink(used[1], used[0], 1, 900);
  Pass(seconds(30));
  EXPECT_EQ(Now().id, plan_.id);
}

TEST_F(DriftTest, LayersAreReadFromDiskUntilADeviceWithMemoryComes) {
  Add("a", 4 * kMiB + kMiB / 2, true);
  wire::NodeRecord record = nodes_[0].core->Nodes()[0].record;
  record.devices[0].disk_gbps = 1e-3;
  Tell(0, LocalRecord{record});
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  ASSERT_EQ(Now().stages.size(), 1u);
  EXPECT_EQ(Now().stages[0].streamed, 4u);
  Pass(seconds(60));
  EXPECT_EQ(Now().stages[0].streamed, 4u);
  Add("b", 16 * kMiB, true);
  ConnectAll();
  Pass(seconds(15));
  EXPECT_EQ(wire::StreamedLayersOf(Now()), 0u);
  EXPECT_EQ(InstanceAt(0)->summary.state, wire::InstanceState::kReady);
}

TEST_F(DriftTest, SmallOrShortChangesMoveNothing) {
  AddDevices({5 * kMiB, 5 * kMiB});
  Pass(seconds(3));
  Change(1, 0.8);
  Pass(seconds(60));
  for (int i = 0; i < 10; ++i) {
    Change(1, 0.3);
    Pass(seconds(5));
    Change(1, 1);
    Pass(seconds(5));
  }
  EXPECT_EQ(Now().id, plan_.id);
}

TEST_F(DriftTest, AMoveThatGainsNothingIsNotMade) {
  AddDevices({5 * kMiB, 5 * kMiB});
  Change(0, 0.5);
  Change(1, 0.5);  // both alike
  Pass(seconds(60));
  EXPECT_EQ(Now().id, plan_.id);
}

// Other cuts lose other bits: an answer that has begun could not go on behind them.
TEST_F(DriftTest, ALossyPlanStaysWhileItAnswers) {
  for (const char* name : {"a", "b"}) Add(name, 5 * kMiB, true);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id, .codec = wire::Codec::kInt8});
  const wire::Plan plan = Now();
  ASSERT_EQ(plan.stages.size(), 2u);
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  Pass(seconds(3));
  Change(IndexOf(plan.stages[0].node), 0.1);
  Pass(seconds(15));
  EXPECT_EQ(Now().id, plan.id);
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  Tell(IndexOf(plan.stages[0].node), LeadFinished{.finished = {.request = ask.request}});
  Pass(seconds(3));
  EXPECT_NE(Now().id, plan.id);
  EXPECT_EQ(Now().codec, wire::Codec::kInt8);
}

TEST_F(DriftTest, AModelDoesNotMoveAgainTooSoon) {
  AddDevices({16 * kMiB, 16 * kMiB});
  ASSERT_EQ(PlacesOf(plan_), std::vector<size_t>{0});
  Pass(seconds(3));
  Change(0, 0.2);
  Pass(seconds(15));
  EXPECT_EQ(PlacesOf(Now()), std::vector<size_t>{1});
  Change(0, 1);
  Change(1, 0.2);
  Pass(seconds(30));
  EXPECT_EQ(PlacesOf(Now()), std::vector<size_t>{1});
  Pass(seconds(45));
  EXPECT_EQ(PlacesOf(Now()), std::vector<size_t>{0});
}

TEST_F(DriftTest, ADeviceThatTakesNoPartIsLeftAndOneThatGivesMoreIsTaken) {
  AddDevices({16 * kMiB, 16 * kMiB});
  Pass(seconds(3));
  Change(0, 1, wire::kAllWithheld);
  Pass(seconds(15));
  EXPECT_EQ(PlacesOf(Now()), std::vector<size_t>{1});
  Change(1, 0.5);
  Change(0, 1);
  Pass(seconds(80));
  EXPECT_EQ(PlacesOf(Now()), std::vector<size_t>{0});
}

TEST_F(DriftTest, AnAnswerGoesOnBehindItsTokensHoweverOftenItMoves) {
  AddDevices({16 * kMiB, 16 * kMiB});
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  size_t at = 0;
  ASSERT_EQ(Take<LeadSubmit>(at).size(), 1u);
  Answer(at, ask.request, 100);
  for (TokenId next = 101; next < 105; ++next) {
    Change(at, 1, wire::kAllWithheld);
    Change(1 - at, 1);
    Pass(seconds(90));
    at = 1 - at;
    ASSERT_EQ(PlacesOf(Now()), std::vector<size_t>{at});
    const auto submits = Take<LeadSubmit>(at);
    ASSERT_EQ(submits.size(), 1u);
    EXPECT_EQ(submits[0].submit.prompt.back(), next - 1);
    EXPECT_EQ(submits[0].submit.prompt.size(), static_cast<size_t>(2 + next - 100));
    Answer(at, ask.request, next);
  }
  std::vector<TokenId> tokens;
  for (const RequestTokens& news : Take<RequestTokens>(0))
    tokens.insert(tokens.end(), news.tokens.begin(), news.tokens.end());
  EXPECT_EQ(tokens, (std::vector<TokenId>{100, 101, 102, 103, 104}));
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
}

// A step reads the weights once for all answers, but computes each one's row: where that is most of
// of the work, two devices side by side are twice as fast. What runs stays, and a replica comes.
TEST_F(DriftTest, AModelThatManyAskIsPlannedForMany) {
  AddDevices({16 * kMiB, 16 * kMiB});
  ModelShape shape = SixLayers();
  shape.ops_per_token_layer = 1000000;
  for (size_t i = 0; i < 2; ++i) Tell(i, LocalModels{{shape}});
  ASSERT_EQ(PlacesOf(plan_), std::vector<size_t>{0});
  std::vector<wire::Submit> asks;
  for (int i = 0; i < 6; ++i) {
    asks.push_back(Ask());
    Tell(0, SubmitLocal{asks.back(), SixLayers().id});
  }
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 6u);
  Pass(seconds(8));
  EXPECT_EQ(Now().id, plan_.id) << "a burst";
  Pass(seconds(5));
  const auto instances = [&] { return nodes_[0].core->Instances(); };
  ASSERT_EQ(instances().size(), 2u);
  for (const InstanceStatus& one : instances())
    EXPECT_EQ(one.summary.plan.context, plan_.context) << "either answers whatever comes";
  asks.push_back(Ask());
  Tell(0, SubmitLocal{asks.back(), SixLayers().id});
  EXPECT_EQ(Take<LeadSubmit>(1).size(), 1u) << "where nobody is";
  for (const wire::Submit& ask : asks) {
    for (size_t lead = 0; lead < 2; ++lead)
      Tell(lead, LeadFinished{.finished = {.request = ask.request}});
  }
  Pass(seconds(50));
  EXPECT_EQ(instances().size(), 2u) << "more may come";
  Pass(seconds(20));
  EXPECT_EQ(Now().id, plan_.id) << "the replica has given its memory back";
}

TEST_F(DriftTest, WhatIsSaidToBeForOneAnswerStaysSo) {
  for (const char* name : {"a", "b"}) Add(name, 16 * kMiB, true);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id, .use = wire::Use::kLatency});
  const wire::Plan plan = Now();
  for (int i = 0; i < 6; ++i) Tell(0, SubmitLocal{Ask(), SixLayers().id});
  Pass(seconds(30));
  EXPECT_EQ(Now().id, plan.id);
}

TEST_F(DriftTest, AnotherNodesAnswerGoesOnToo) {
  AddDevices({16 * kMiB, 16 * kMiB, kMiB});
  const wire::Submit ask = Ask();
  Tell(2, SubmitLocal{ask, SixLayers().id});
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u);
  Answer(0, ask.request, 100);
  Change(0, 1, wire::kAllWithheld);
  Pass(seconds(15));
  const auto submits = Take<LeadSubmit>(1);
  ASSERT_EQ(submits.size(), 1u);
  EXPECT_EQ(submits[0].submit.prompt, (std::vector<TokenId>{1, 2, 100}));
  EXPECT_TRUE(Take<RequestFinished>(2).empty());
}

TEST_F(DriftTest, TheFormerPlanAnswersUntilTheNextOneIsReady) {
  const wire::Plan next = BeginToMove();
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u);
  Answer(0, ask.request, 100, 2);
  EXPECT_TRUE(Take<StopInstance>(0).empty());
  Pass(seconds(15));
  EXPECT_TRUE(Take<StartLoad>(1).empty()) << "one after the other";
  Tell(1, LoadFinished{next.id, {}, 3});
  EXPECT_EQ(Take<StopInstance>(0).size(), 1u);
  const auto submits = Take<LeadSubmit>(1);
  ASSERT_EQ(submits.size(), 1u);
  EXPECT_EQ(submits[0].submit.plan, next.id);
  EXPECT_EQ(submits[0].submit.prompt, (std::vector<TokenId>{1, 2, 100}));
  EXPECT_EQ(submits[0].submit.kept, (wire::KeptKv{plan_.id, 2}));
  EXPECT_EQ(Now().id, next.id);
  Answer(1, ask.request, 101);
  EXPECT_EQ(Take<RequestTokens>(0).size(), 2u);
}

TEST_F(DriftTest, APromptThatIsBeingComputedBringsAlongWhatIsThere) {
  const wire::Plan next = BeginToMove();
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  Tell(0, LeadEmitted{.request = ask.request, .tokens = {}, .computed = 1});
  EXPECT_TRUE(Take<RequestTokens>(0).empty());
  Tell(1, LoadFinished{next.id, {}, 3});
  const auto submits = Take<LeadSubmit>(1);
  ASSERT_EQ(submits.size(), 1u);
  EXPECT_EQ(submits[0].submit.prompt, ask.prompt);
  EXPECT_EQ(submits[0].submit.kept, (wire::KeptKv{plan_.id, 1}));
}

TEST_F(DriftTest, AMoveThatFailsEndsNothingAndIsTriedAgain) {
  const wire::Plan next = BeginToMove();
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  Tell(1, LoadFinished{next.id, std::unexpected(Error{ErrorCode::kIo, "the disk failed"}), 3});
  EXPECT_EQ(Now().id, plan_.id);
  Answer(0, ask.request, 100);
  EXPECT_EQ(Take<RequestTokens>(0).size(), 1u);
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  Pass(seconds(40));
  EXPECT_EQ(Take<StartLoad>(1).size(), 1u);
  EXPECT_TRUE(Take<StopInstance>(0).empty());
}

TEST_F(DriftTest, AnUnloadEndsBothPlansOfAModelThatMoves) {
  BeginToMove();
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Pass(seconds(3));
  EXPECT_TRUE(nodes_[0].core->Instances().empty());
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(nodes_[i].core->reserved_bytes(), 0u);
}

TEST_F(DriftTest, ADeviceThatIsLostWhileItLoadsLeavesTheFormerPlan) {
  BeginToMove();
  Kill(1);
  Pass(seconds(10));
  EXPECT_EQ(Now().id, plan_.id);
  const wire::Submit ask = Ask();
  Tell(0, SubmitLocal{ask, SixLayers().id});
  EXPECT_EQ(Take<LeadSubmit>(0).size(), 1u);
}

TEST_F(DriftTest, TheStagesOfTheNextPlanAreToldWhoHadTheLayers) {
  AddDevices({5 * kMiB, 5 * kMiB});
  for (size_t i = 0; i < 2; ++i) Take<StartLoad>(i);
  Pass(seconds(3));
  Change(0, 0.1);
  Pass(seconds(12));
  for (size_t i = 0; i < 2; ++i) {
    const auto loads = Take<StartLoad>(i);
    ASSERT_EQ(loads.size(), 1u);
    EXPECT_EQ(loads[0].former.plan, plan_.id);
    ASSERT_EQ(loads[0].former.stages.size(), 2u);
    for (size_t stage = 0; stage < 2; ++stage) {
      EXPECT_EQ(loads[0].former.stages[stage].node, plan_.stages[stage].node);
      EXPECT_EQ(loads[0].former.stages[stage].layer_end, plan_.stages[stage].layer_end);
    }
  }
}

// The entry is told that the plan has ended; the lead is not, yet.
TEST_F(DriftTest, ALeadTakesARequestForTheNextPlanBeforeItHearsThatTheFormerOneHasEnded) {
  AddDevices({16 * kMiB, kMiB});
  const wire::Submit ask = Ask();
  Tell(1, SubmitLocal{ask, SixLayers().id});
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u);
  Answer(0, ask.request, 100);
  wire::Plan next = plan_;
  next.owner = nodes_[1].id;
  next.id = wire::ComputePlanId(next);
  Tell(0, Received{nodes_[1].id, wire::Reserve{next}});
  Tell(0, Received{nodes_[1].id, wire::Commit{next.id}});
  Tell(0, Received{nodes_[1].id, wire::InstanceReady{next.id}});
  wire::Submit again = ask;
  again.plan = next.id;
  again.prompt.push_back(100);
  Tell(0, Received{nodes_[1].id, again});
  EXPECT_EQ(Take<LeadCancel>(0).size(), 1u) << "the former one's";
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u);
  Take<RequestTokens>(1);
  Tell(0, LeadEmitted{.request = ask.request, .tokens = {101}, .plan = plan_.id});
  EXPECT_TRUE(Take<RequestTokens>(1).empty()) << "late news of the former plan";
}

TEST_F(DriftTest, TheNextPlanWaitsForTheMemoryOfTheFormerOne) {
  AddDevices({5 * kMiB, 5 * kMiB});
  const uint32_t layers = LayersOf(plan_, 0);
  stopping_ = false;
  Pass(seconds(3));
  Change(0, 0.1);
  Pass(seconds(12));
  ASSERT_NE(InstanceAt(0), nullptr);
  EXPECT_EQ(InstanceAt(0)->summary.state, wire::InstanceState::kReserving);
  stopping_ = true;
  for (size_t i = 0; i < 2; ++i) Tell(i, StageStopped{plan_.id});
  EXPECT_EQ(InstanceAt(0)->summary.state, wire::InstanceState::kReady);
  EXPECT_LT(LayersOf(Now(), 0), layers);
}

TEST_F(DriftTest, ADeviceAloneRunsItsUsersModelWhateverItHoldsBack) {
  AddDevices({16 * kMiB});
  Change(0, 1, wire::kAllWithheld);
  Pass(seconds(60));
  EXPECT_EQ(Now().id, plan_.id);
  Tell(0, UnloadModel{.ticket = 2, .model = SixLayers().id});
  Tell(0, EnsureModel{.ticket = 3, .model = SixLayers().id});
  EXPECT_TRUE(Take<EnsureReply>(0).at(0).result);
}

TEST_F(DriftTest, NobodyElseUsesADeviceThatTakesNoPart) {
  Add("small", kMiB, true);
  Add("laptop", 16 * kMiB, false);
  ConnectAll();
  Change(1, 1, wire::kAllWithheld);
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  Pass(seconds(15));
  const auto replies = Take<EnsureReply>(0);
  ASSERT_EQ(replies.size(), 1u);
  ASSERT_FALSE(replies[0].result);
  const std::string& why = replies[0].result.error().message;
  EXPECT_NE(why.find("m does not fit: it needs"), std::string::npos) << why;
  EXPECT_NE(why.find("; laptop (offers nothing (low charge)) is not counted on"), std::string::npos)
      << why;
  // Its own user asks.
  Tell(1, EnsureModel{.ticket = 2, .model = SixLayers().id});
  EXPECT_TRUE(Take<EnsureReply>(1).at(0).result);
}

TEST_F(DriftTest, NothingIsLoadedForAPlanThatDoesNotFit) {
  Add("n0", 3 * kMiB, true);
  Add("n1", 3 * kMiB, true);
  ConnectAll();
  Tell(0, EnsureModel{.ticket = 1, .model = SixLayers().id});
  Pass(seconds(15));
  const auto reply = Take<EnsureReply>(0).at(0);
  ASSERT_FALSE(reply.result);
  const std::string& why = reply.result.error().message;
  EXPECT_TRUE(why.starts_with("m does not fit: it needs ")) << why;
  EXPECT_NE(why.find("n0 3.0 MiB of 3.0 MiB, n1 3.0 MiB of 3.0 MiB"), std::string::npos) << why;
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(Take<StartLoad>(i).empty());
}

// ---- what is worth a move ----

PlanNode Device(uint8_t id, double gbps) {
  PlanNode node{.memory_available = kGiB, .memory_budget = kGiB, .decode_gbps = gbps};
  node.prefill_gops = 100;
  node.id.bytes[0] = id;
  return node;
}

wire::Plan AllOn(const PlanNode& node, uint64_t bytes) {
  wire::Plan plan{
      .stages = {{.node = node.id, .layer_end = 6, .bytes = bytes}}, .layers = 6, .chunk = 256};
  return plan;
}

TEST(IsWorthItTest, ALoadMustPayWithinAMinute) {
  ModelShape shape = SixLayers();
  shape.layer_bytes.assign(6, kGiB);
  const std::vector<PlanNode> nodes = {Device(1, 1), Device(2, 1.08), Device(3, 1.5), Device(4, 9)};
  const auto worth = [&](const PlanNode& to, uint64_t bytes, bool held) {
    const std::vector<wire::Plan> from = {AllOn(nodes[0], bytes)}, next = {AllOn(to, bytes)};
    return IsWorthIt({shape, nodes, from, next}, [&](const NodeId&) { return held; });
  };
  EXPECT_FALSE(worth(nodes[1], kMiB, true)) << "hardly faster";
  EXPECT_TRUE(worth(nodes[2], 6 * kGiB, true)) << "a third less time for 13 s of loading";
  EXPECT_FALSE(worth(nodes[2], 6 * kGiB, false)) << "pulling takes two minutes";
  EXPECT_FALSE(worth(nodes[3], 60 * kGiB, true));
  EXPECT_TRUE(worth(nodes[3], 6 * kMiB, false));
}

// A layer's position has 2 MB: all six of them move at 12 MB a position.
TEST(FormerOfTest, KvIsSentWhereThatIsFasterThanComputing) {
  ModelShape shape = SixLayers();
  shape.kv_bytes_per_position = {2'000'000, 4'000'000};
  shape.ops_per_token_layer = 1'000'000'000;
  std::vector<PlanNode> nodes = {Device(1, 1), Device(2, 1)};
  const auto former = [&](const wire::Plan& from, const wire::Plan& to) {
    return FormerOf({shape, nodes, from, to});
  };
  const auto link = [&](double mbps) {
    nodes[0].links = {{.to = nodes[1].id, .rtt_ms = 1, .mbps = mbps}};
  };
  wire::Plan from = AllOn(nodes[0], kMiB), to = AllOn(nodes[1], kMiB);
  from.id.bytes[0] = 9;
  to.id.bytes[0] = 10;
  link(1e6);
  EXPECT_EQ(former(from, to).plan, from.id);
  ASSERT_EQ(former(from, to).stages.size(), 1u);
  EXPECT_EQ(former(from, to).stages[0], (wire::FormerStage{nodes[0].id, 0, 6}));
  link(10);
  EXPECT_TRUE(former(from, to).plan.IsZero()) << "ten seconds for a position";
  EXPECT_EQ(former(from, from).plan, from.id) << "what stays costs nothing";
  link(1e6);
  wire::Plan lossy = from;
  lossy.codec = wire::Codec::kInt8;
  lossy.stages.push_back({.node = nodes[1].id, .layer_begin = 6, .layer_end = 6});
  EXPECT_TRUE(former(lossy, to).plan.IsZero());
  wire::Plan sharded = to;
  sharded.stages[0].shard = wire::ShardPlan{};
  EXPECT_TRUE(former(from, sharded).plan.IsZero());
  nodes[1].guest = true;
  EXPECT_TRUE(former(from, to).plan.IsZero()) << "it is almost the text";
  EXPECT_EQ(former(to, from).stages.size(), 1u);
  nodes[1].guest = false;
  wire::Plan other = to;
  other.kv_type = 1;
  EXPECT_TRUE(former(from, other).plan.IsZero());
}

TEST(IsWorthItTest, AStageThatStaysIsNotLoaded) {
  ModelShape shape = SixLayers();
  shape.layer_bytes.assign(6, kGiB);
  const std::vector<PlanNode> nodes = {Device(1, 5), Device(2, 0.1), Device(3, 5)};
  wire::Plan from{.stages = {{.node = nodes[0].id, .layer_end = 5, .bytes = 1000 * kGiB},
                             {.node = nodes[1].id, .layer_begin = 5, .layer_end = 6}},
                  .layers = 6,
                  .chunk = 256};
  wire::Plan next = from;
  next.stages[1].node = nodes[2].id;
  next.stages[1].bytes = kGiB;
  EXPECT_TRUE(IsWorthIt({shape, nodes, {from}, {next}}, [](const NodeId&) { return true; }));
}

TEST(IsWorthItTest, AReplicaBesideWhatRunsNeedsLessGain) {
  ModelShape shape = SixLayers();
  shape.layer_bytes.assign(6, kGiB);
  shape.ops_per_token_layer = 10'000'000'000;
  std::vector<PlanNode> nodes = {Device(1, 10), Device(2, 1.5), Device(3, 12)};
  nodes[2].prefill_gops = 120;
  const wire::Plan first = AllOn(nodes[0], kMiB);
  const auto worth = [&](const std::vector<wire::Plan>& next, uint32_t users) {
    return IsWorthIt({shape, nodes, {first}, next, users}, [](const NodeId&) { return true; });
  };
  EXPECT_TRUE(worth({first, AllOn(nodes[1], kMiB)}, 8));
  EXPECT_FALSE(worth({AllOn(nodes[2], kMiB)}, 8)) << "a fifth faster";
  EXPECT_FALSE(worth({first, AllOn(nodes[1], kMiB)}, 1)) << "one answer is no faster";
}

}  // namespace
}  // namespace exo::cluster
