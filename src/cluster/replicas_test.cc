// Which replica a request goes to, and what becomes of a model that runs several times.
#include "cluster/replicas.h"

#include <algorithm>
#include <set>

#include "cluster/harness.h"

namespace exo::cluster {
namespace {

using std::chrono::seconds;

PlanId Plan(uint8_t number) {
  return PlanId{{number}};
}
std::vector<TokenId> Text(size_t tokens, TokenId first = 0) {
  std::vector<TokenId> text(tokens);
  for (size_t i = 0; i < tokens; ++i) text[i] = first + static_cast<TokenId>(i);
  return text;
}

TEST(PrefixHintsTest, FindsTheLongestBeginningThatWentToOneOfThese) {
  PrefixHints hints;
  hints.Note(7, Text(640), Plan(1));
  hints.Note(7, Text(320), Plan(2));
  const auto find = [&](uint64_t scope, const std::vector<TokenId>& prompt,
                        const std::vector<PlanId>& among) {
    return hints.Find(scope, prompt, among);
  };
  EXPECT_EQ(find(7, Text(1000), {Plan(1), Plan(2)}).tokens, 640u);
  EXPECT_EQ(find(7, Text(1000), {Plan(1), Plan(2)}).plan, Plan(1));
  EXPECT_EQ(find(7, Text(1000), {Plan(2)}).tokens, 320u);
  EXPECT_EQ(find(7, Text(1000), {Plan(3)}).tokens, 0u);
  EXPECT_EQ(find(8, Text(1000), {Plan(1)}).tokens, 0u) << "of others nothing is shared";
  EXPECT_EQ(find(7, Text(1000, 1), {Plan(1)}).tokens, 0u) << "another text";
  EXPECT_EQ(find(7, Text(PrefixHints::kStep - 1), {Plan(1)}).tokens, 0u) << "too short";
}

TEST(PrefixHintsTest, ForgetsTheOldestAndIsBounded) {
  PrefixHints hints;
  hints.Note(1, Text(64), Plan(1));
  for (uint64_t scope = 2; scope < 2 + 2 * PrefixHints::kMost; ++scope)
    hints.Note(scope, Text(64), Plan(1));
  EXPECT_EQ(hints.Find(1, Text(64), {Plan(1)}).tokens, 0u);
  EXPECT_EQ(hints.Find(1 + 2 * PrefixHints::kMost, Text(64), {Plan(1)}).tokens, 64u);
}

TEST(RecentEndsTest, CountsThoseThatWereActiveAtOnce) {
  const auto at = [](int ms) { return seconds(100) + std::chrono::milliseconds(ms); };
  RecentEnds ends;
  ends.Note(Plan(1), at(-5000), at(-4000));
  ends.Note(Plan(1), at(-4000), at(-3000));
  EXPECT_EQ(ends.Count(Plan(1), at(0)), 0u) << "long ago";
  for (int i = 0; i < 4; ++i) ends.Note(Plan(1), at(100 * i), at(100 * i + 100));
  EXPECT_EQ(ends.Count(Plan(1), at(400)), 1u) << "one after the other";
  EXPECT_EQ(ends.Count(Plan(2), at(400)), 0u);
  ends.Note(Plan(1), at(-3000), at(400));
  EXPECT_EQ(ends.Count(Plan(1), at(400)), 2u) << "a long one beside them";
  EXPECT_EQ(ends.Count(Plan(1), at(901)), 0u);
}

TEST(ChooseReplicaTest, TheLeastLoadedForItsSpeed) {
  const auto choose = [](const std::vector<ReplicaLoad>& all) {
    return ChooseReplica(all, {}, 100);
  };
  // Of one of them it is known what it is for both.
  EXPECT_EQ(choose({{.requests = 1, .rate = {10, 1}}, {.requests = 2, .rate = {14, {}}}}), 0u);
  EXPECT_EQ(choose({{.requests = 1, .rate = {10, 0}}, {.requests = 2, .rate = {14, {}}}}), 1u);
  const AnswerRate slow{.alone = 10, .further = 1}, fast{.alone = 30, .further = 1};
  EXPECT_EQ(choose({{.requests = 1, .rate = slow}, {.requests = 0, .rate = slow}}), 1u);
  EXPECT_EQ(choose({{.requests = 1, .rate = fast}, {.requests = 0, .rate = slow}}), 0u);
  EXPECT_EQ(choose({{.requests = 3, .rate = fast}, {.requests = 0, .rate = slow}}), 1u);
  // Where steps with more rows are hardly longer, the fast one takes more.
  const AnswerRate sharing{.alone = 30, .further = 0.2};
  EXPECT_EQ(choose({{.requests = 9, .rate = sharing}, {.requests = 0, .rate = slow}}), 0u);
  EXPECT_EQ(choose({{.requests = 11, .rate = sharing}, {.requests = 0, .rate = slow}}), 1u);
  EXPECT_EQ(choose({{.rate = slow}, {.rate = slow, .here = true}}), 1u) << "no way to go";
}

TEST(ChooseReplicaTest, TheOneThatKnowsThePromptUnlessItIsCrowded) {
  const auto choose = [](uint32_t requests, size_t known) {
    return ChooseReplica({{.plan = Plan(1)}, {.plan = Plan(2), .requests = requests}},
                         {Plan(2), known}, 1000);
  };
  EXPECT_EQ(choose(0, 512), 1u);
  EXPECT_EQ(choose(4, 512), 1u);
  EXPECT_EQ(choose(5, 512), 0u) << "others would answer sooner";
  EXPECT_EQ(choose(1, 448), 0u) << "most of the prompt is new";
}

TEST(ShareUsersTest, AsEntriesSendThem) {
  const auto share = [](double first, double second, double further, uint32_t users) {
    return ShareUsers({{first, further}, {second, further}}, users);
  };
  EXPECT_EQ(share(10, 10, 1, 6), (std::vector<uint32_t>{3, 3}));
  EXPECT_EQ(share(40, 10, 1, 5), (std::vector<uint32_t>{4, 1}));
  EXPECT_EQ(share(40, 1, 1, 5), (std::vector<uint32_t>{5, 0}));
  EXPECT_EQ(share(88, 44, 0.2, 16), (std::vector<uint32_t>{12, 4}));
}

TEST(AnswerRateTest, IsTakenFromWhatIsPredicted) {
  // Steps of 10 ms with one row and of 16 with four.
  const AnswerRate rate = AnswerRate::Of(100, 250, 4);
  EXPECT_NEAR(rate.further.value(), 0.2, 1e-9);
  EXPECT_NEAR(rate.StepOf(4), 0.016, 1e-9);
  EXPECT_FALSE(AnswerRate::Of(100, 100, 1).further) << "of one nothing is known";
  EXPECT_EQ(AnswerRate::Of(100, 90, 2).further, 1) << "no worse than one after the other";
  EXPECT_EQ(AnswerRate::Of(0, 0, 0).alone, AnswerRate{}.alone);
}

// Devices that are equally fast, and a model of which each answer is work of its own.
class ReplicasTest : public CoreTest {
 protected:
  static ModelShape Costly() {
    ModelShape shape = SixLayers();
    shape.ops_per_token_layer = 1'000'000;
    return shape;
  }
  void AddDevices(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      Add("n" + std::to_string(i), 16 * kMiB, true);
      Tell(i, LocalModels{{Costly()}});
    }
    ConnectAll();
  }
  void Load(size_t node) {
    Tell(node, EnsureModel{.ticket = 1, .model = SixLayers().id, .use = wire::Use::kThroughput});
  }
  // Its process is lost, and another one begins.
  void Return(size_t which) {
    Restart(which, 16 * kMiB, true);
    Tell(which, LocalModels{{Costly()}});
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (i == which || !nodes_[i].alive) continue;
      Tell(i, SessionUp{.peer = nodes_[which].id, .boot_nonce = 2}, false);
      Tell(which, SessionUp{.peer = nodes_[i].id, .boot_nonce = 1}, false);
    }
    Deliver();
  }
  // The nodes with a READY instance, as one of them sees it.
  std::multiset<size_t> ReadyAt(size_t node) {
    std::multiset<size_t> leads;
    for (const InstanceStatus& one : nodes_[node].core->Instances()) {
      if (one.summary.state == wire::InstanceState::kReady)
        leads.insert(IndexOf(one.summary.plan.stages[0].node));
    }
    return leads;
  }
  std::vector<wire::Submit> AskAt(size_t entry, size_t count) {
    std::vector<wire::Submit> asks;
    for (size_t i = 0; i < count; ++i) {
      asks.push_back(Ask());
      Tell(entry, SubmitLocal{asks.back(), SixLayers().id});
    }
    return asks;
  }
};

TEST_F(ReplicasTest, AModelForManyRunsOnEachDeviceAndIsAnsweredOnce) {
  AddDevices(3);
  Load(1);
  EXPECT_EQ(Take<EnsureReply>(1).size(), 1u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ReadyAt(i), (std::multiset<size_t>{0, 1, 2}));
    for (const InstanceStatus& one : nodes_[i].core->Instances()) {
      EXPECT_EQ(one.summary.owner, nodes_[1].id);
      EXPECT_EQ(one.summary.plan.context, nodes_[0].core->Instances()[0].summary.plan.context);
      EXPECT_EQ(one.summary.expected.basis, wire::PlanBasis::kReplicas);
    }
  }
  Pass(seconds(60));
  EXPECT_EQ(ReadyAt(0).size(), 3u) << "they are no duplicates of each other";
}

TEST_F(ReplicasTest, ArePlannedForAsManyAnswersAsWereSaid) {
  AddDevices(2);
  Tell(1, EnsureModel{
              .ticket = 1, .model = SixLayers().id, .use = wire::Use::kThroughput, .users = 12});
  uint32_t users = 0;
  for (const InstanceStatus& one : nodes_[0].core->Instances()) users += one.summary.expected.users;
  EXPECT_EQ(users, 12u);
  EXPECT_EQ(nodes_[0].core->DesiredRecords()[0].users, 12u) << "and when it is planned again";
}

TEST_F(ReplicasTest, RequestsAtOnceAreSpreadOverThem) {
  AddDevices(3);
  Load(0);
  AskAt(2, 6);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Take<LeadSubmit>(i).size(), 2u) << i;
}

// What their leads have told still counts those that have just ended.
TEST_F(ReplicasTest, RequestsBehindOthersAreSpreadOverThemToo) {
  AddDevices(3);
  Load(0);
  for (int round = 0; round < 3; ++round) {
    AskAt(0, 3);
    Pass(seconds(1));  // all leads tell that they are busy
    for (size_t i = 0; i < 3; ++i) {
      const auto asked = Take<LeadSubmit>(i);
      ASSERT_EQ(asked.size(), 1u) << i << ", round " << round;
      Tell(i, LeadFinished{{.request = asked[0].submit.request}});
    }
  }
}

// Not even many of an entry's own: what is told is of one moment.
TEST_F(ReplicasTest, ShortRequestsOneAfterTheOtherHideNoOtherEntrysLoad) {
  AddDevices(2);
  Load(0);
  wire::Submit known = Ask();
  known.prompt = Text(300);
  known.prompt_tokens = 300;
  const auto answer = [&](Time takes) {
    known.request.bytes[0] = ++requests_;
    Tell(0, SubmitLocal{known, SixLayers().id});
    Pass(takes);
    const auto asked = Take<LeadSubmit>(0);
    ASSERT_EQ(asked.size(), 1u);
    Tell(0, LeadFinished{{.request = asked[0].submit.request}});
  };
  answer(seconds(1));  // from now on its prompt leads it here
  Pass(seconds(1));
  AskAt(1, 2);
  const auto elsewhere = Take<LeadSubmit>(1);
  ASSERT_EQ(elsewhere.size(), 1u);
  ASSERT_EQ(Take<LeadSubmit>(0).size(), 1u) << "which stays";
  Tell(1, LeadFinished{{.request = elsewhere[0].submit.request}});
  Pass(seconds(1));
  for (int i = 0; i < 3; ++i) answer(std::chrono::milliseconds(200));
  AskAt(0, 1);
  EXPECT_EQ(Take<LeadSubmit>(1).size(), 1u) << "here is a request of the other entry";
}

TEST_F(ReplicasTest, ALongPromptGoesWhereItWasBefore) {
  AddDevices(3);
  Load(0);
  const auto ask = [&](const std::vector<TokenId>& prompt) {
    wire::Submit submit = Ask();
    submit.prompt = prompt;
    submit.prompt_tokens = static_cast<uint32_t>(prompt.size());
    Tell(0, SubmitLocal{submit, SixLayers().id});
    for (size_t i = 0; i < 3; ++i) {
      if (Take<LeadSubmit>(i).size() == 1) return i;
    }
    return size_t{9};
  };
  const size_t first = ask(Text(300)), second = ask(Text(300, 1000));
  EXPECT_NE(first, second);
  EXPECT_EQ(ask(Text(340)), first);
  EXPECT_EQ(ask(Text(340, 1000)), second);
}

TEST_F(ReplicasTest, ALostOneTakesNothingDownAndComesBack) {
  AddDevices(3);
  Load(0);
  const std::vector<wire::Submit> asks = AskAt(0, 3);
  size_t lost = 0;  // the request at node 1
  for (const LeadSubmit& submit : Take<LeadSubmit>(1)) {
    lost = submit.submit.request.bytes[0] - 1u;
    Tell(1, LeadEmitted{.request = submit.submit.request, .tokens = {100, 101}});
  }
  for (const size_t other : {0, 2}) ASSERT_EQ(Take<LeadSubmit>(other).size(), 1u);
  Kill(1);
  Pass(seconds(3));
  EXPECT_EQ(ReadyAt(0), (std::multiset<size_t>{0, 2}));
  std::vector<LeadSubmit> again = Take<LeadSubmit>(0);
  for (const LeadSubmit& submit : Take<LeadSubmit>(2)) again.push_back(submit);
  ASSERT_EQ(again.size(), 1u) << "the others noticed nothing";
  EXPECT_EQ(again[0].submit.request, asks[lost].request);
  EXPECT_EQ(again[0].submit.prompt, (std::vector<TokenId>{1, 2, 100, 101}));
  EXPECT_TRUE(Take<RequestFinished>(0).empty());
  Return(1);
  Pass(seconds(30));
  EXPECT_EQ(ReadyAt(0), (std::multiset<size_t>{0, 1, 2}));
}

TEST_F(ReplicasTest, OneThatFailsToLoadIsTriedAgainWhileTheOthersAnswer) {
  AddDevices(2);
  loading_ = false;
  Load(0);
  const auto end = [&](size_t node, const Result<void>& result) {
    const auto loads = Take<StartLoad>(node);
    ASSERT_EQ(loads.size(), 1u);
    Tell(node, LoadFinished{loads[0].plan.id, result});
  };
  end(1, Fail(ErrorCode::kIo, "a bad sector"));
  EXPECT_TRUE(Take<EnsureReply>(0).empty());
  end(0, {});
  ASSERT_EQ(Take<EnsureReply>(0).size(), 1u);
  AskAt(0, 2);
  EXPECT_EQ(Take<LeadSubmit>(0).size(), 2u);
  loading_ = true;
  Pass(seconds(5));
  EXPECT_EQ(ReadyAt(0), (std::multiset<size_t>{0, 1}));
}

// Who was a replica's lead goes on with it; of several that do so one stays, and takes the others'
// place by more replicas.
TEST_F(ReplicasTest, WithoutTheirOwnerTheyAreOneModelAgain) {
  AddDevices(3);
  Load(0);
  AskAt(1, 3);
  Kill(0);
  Pass(seconds(90));
  EXPECT_EQ(ReadyAt(1), (std::multiset<size_t>{1, 2}));
  std::set<NodeId> owners;
  for (const InstanceStatus& one : nodes_[1].core->Instances()) owners.insert(one.summary.owner);
  EXPECT_EQ(owners.size(), 1u);
  EXPECT_TRUE(Take<RequestFinished>(1).empty());
}

TEST_F(ReplicasTest, UnloadingEndsAll) {
  AddDevices(3);
  Load(0);
  Tell(2, UnloadModel{.ticket = 5, .model = SixLayers().id});
  Pass(seconds(1));
  EXPECT_EQ(Take<UnloadReply>(2).size(), 1u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(nodes_[i].core->Instances().empty());
    EXPECT_EQ(nodes_[i].core->reserved_bytes(), 0u);
  }
}

TEST_F(ReplicasTest, ABusyReplicaKeepsTheIdleOnes) {
  AddDevices(2);
  Tell(0, EnsureModel{.ticket = 1,
                      .model = SixLayers().id,
                      .named = wire::kNamedKeep,
                      .keep_ms = 5000,
                      .use = wire::Use::kThroughput});
  const wire::Submit ask = AskAt(0, 1)[0];
  Pass(seconds(20));
  EXPECT_EQ(ReadyAt(0).size(), 2u);
  const size_t lead = Take<LeadSubmit>(0).size() == 1 ? 0 : 1;
  Tell(lead, LeadFinished{.finished = {.request = ask.request}});
  Pass(seconds(20));
  EXPECT_TRUE(ReadyAt(0).empty());
}

TEST_F(ReplicasTest, APlanForManyNamesThemAll) {
  AddDevices(3);
  Add("asker", kMiB, false);
  ConnectAll();
  Tell(3, PlanModel{.ticket = 8, .model = SixLayers().id, .users = 6});
  const auto made = Take<PlanMade>(3);
  ASSERT_EQ(made.size(), 1u);
  ASSERT_TRUE(made[0].result);
  ASSERT_EQ(made[0].replicas.size(), 2u);
  EXPECT_EQ(made[0].result->expected.users, 2u);
  EXPECT_EQ(made[0].replicas[1].expected.users, 2u);
  EXPECT_EQ(made[0].rivals[0].fate, wire::RivalFate::kChosen);
  EXPECT_EQ(made[0].rivals[0].nodes.size(), 3u);
}

}  // namespace
}  // namespace exo::cluster
