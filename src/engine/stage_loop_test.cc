// What a stage that is not the lead does with what others fail with.
#include "engine/stage_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "engine/test_instance.h"
#include "sys/system.h"

namespace exo::engine {
namespace {

// One shard of three, the others played by the test.
class StageLoopTest : public RunnerTest {
 protected:
  StageLoopTest() : RunnerTest(Kind::kLlama, {.heads = 6, .kv_heads = 3}) {
    plan_ = PlanOf(1, 1);
    plan_.stages.clear();
    const model::ModelConfig& config = *model_.config;
    for (uint32_t i = 0; i < 3; ++i) {
      const bool last = i == 2;
      plan_.stages.push_back(
          {.node = Node(static_cast<uint8_t>(i + 1)),
           .layer_end = 5,
           .bytes = 64 * kMiB,
           .shard = wire::ShardPlan{
               .kv_begin = i,
               .kv_end = i + 1,
               .ffn_begin = i * 128,
               .ffn_end = last ? config.ffn_width : (i + 1) * 128,
               .vocab_begin = std::min(i * 112, config.vocab),
               .vocab_end = last ? config.vocab : std::min((i + 1) * 112, config.vocab)}});
    }
  }
  std::unique_ptr<InstanceRunner> StartSecond() {
    auto runner = InstanceRunner::Start(
        *backend_, stores_[1], std::make_unique<MemoryStages>(model_, loads_),
        {.plan = plan_, .stage = 1, .self = Node(2), .names = {"one", "two", "three"}},
        reports_.Events());
    EXPECT_TRUE(reports_.Wait([&] { return reports_.loaded == 1; }));
    auto [lead, from_lead] = TestLink::Pair(Node(1), Node(2));
    auto [to_third, third] = TestLink::Pair(Node(2), Node(3));
    runner->GiveLink(std::move(from_lead));
    std::vector<NextStage> next;
    next.push_back(Over(std::move(to_third)));
    runner->Serve(std::move(next));
    lead_link_ = std::move(lead);
    third_link_ = std::move(third);
    return runner;
  }
  // What comes next on a link, without its rows.
  static std::optional<wire::Message> Next(TestLink& link) {
    const auto outcome = link.Poll(sys::Now() + kPatience, -1);
    if (!outcome || outcome->event != DataLink::Event::kFrame) return std::nullopt;
    return *outcome->frame.message;
  }

  std::unique_ptr<TestLink> lead_link_, third_link_;
};

TEST_F(StageLoopTest, WithNobodyBehindItTellsItsGroupOfAFailure) {
  const auto runner = StartSecond();
  ASSERT_TRUE(lead_link_->SendFloats(
      wire::StepFailed{plan_.id, 1, ErrorCode::kOverloaded, "no memory"}, {}, {}));
  const auto told = Next(*third_link_);
  ASSERT_TRUE(told && std::holds_alternative<wire::StepFailed>(*told));
  EXPECT_EQ(std::get<wire::StepFailed>(*told).code, ErrorCode::kOverloaded);
  ASSERT_TRUE(reports_.Wait([&] { return !reports_.failures.empty(); }));
  EXPECT_EQ(reports_.failures[0].first.code, ErrorCode::kOverloaded);
  EXPECT_TRUE(reports_.failures[0].second.IsZero()) << "no link broke";
}

// Its rows are coded as the other plan says: these are none at all.
TEST_F(StageLoopTest, AStepOfAnotherPlanIsDropped) {
  const auto runner = StartSecond();
  wire::Step foreign{.step = 1};
  foreign.plan.bytes[0] = 9;
  ASSERT_TRUE(lead_link_->SendFloats(foreign, std::vector<float>(3), {}));
  ASSERT_TRUE(lead_link_->SendFloats(
      wire::StepFailed{plan_.id, 1, ErrorCode::kOverloaded, "no memory"}, {}, {}));
  const auto told = Next(*third_link_);
  ASSERT_TRUE(told && std::holds_alternative<wire::StepFailed>(*told));
  EXPECT_EQ(std::get<wire::StepFailed>(*told).code, ErrorCode::kOverloaded);
}

}  // namespace
}  // namespace exo::engine
