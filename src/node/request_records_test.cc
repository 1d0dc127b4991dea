#include "node/request_records.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::milliseconds;

constexpr Time kStart = std::chrono::seconds(10);

RequestId CallOf(uint32_t number) {
  RequestId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  id.bytes[1] = static_cast<uint8_t>(number >> 8);
  return id;
}

TEST(RequestRecordsTest, ACallGoesThroughItsStates) {
  RequestRecords records;
  const auto record = records.Begin(CallOf(1), "tiny", {.key = 7, .name = "phone"}, kStart);
  EXPECT_EQ(record->view().state, RequestState::kQueued);
  EXPECT_EQ(record->view().asker.name, "phone");
  EXPECT_GT(record->view().started_ms, 0);
  record->OnPrompt(12);
  EXPECT_EQ(record->view().state, RequestState::kPrompt);
  record->OnWaiting();
  EXPECT_EQ(record->view().state, RequestState::kQueued);
  record->OnTokens(1, 5, kStart + milliseconds(250));
  EXPECT_EQ(record->view().state, RequestState::kAnswering);
  record->OnTokens(4, 0, kStart + milliseconds(450));
  records.End(*record, RequestState::kDone, "");
  const RequestView& view = record->view();
  EXPECT_EQ(view.state, RequestState::kDone);
  EXPECT_EQ(view.prompt_tokens, 12u);
  EXPECT_EQ(view.cached_tokens, 5u);
  EXPECT_EQ(view.generated, 5u);
  EXPECT_DOUBLE_EQ(view.ttft_ms, 250);
  EXPECT_DOUBLE_EQ(view.tokens_per_second, 20);
  EXPECT_GE(view.ended_ms, view.started_ms);
}

// Tokens that come together say nothing of how fast they were made.
TEST(RequestRecordsTest, AShortAnswersSpeedIsTheLeads) {
  RequestRecords records;
  const auto record = records.Begin(CallOf(1), "tiny", {}, kStart);
  record->OnTokens(1, 0, kStart + milliseconds(3));
  record->OnTokens(4, 0, kStart + milliseconds(3) + std::chrono::microseconds(20));
  EXPECT_EQ(record->view().tokens_per_second, 0);
  record->OnSpeed(4000);
  EXPECT_EQ(record->view().tokens_per_second, 4000);
  record->OnTokens(5, 0, kStart + milliseconds(503));
  record->OnSpeed(1);
  EXPECT_DOUBLE_EQ(record->view().tokens_per_second, 18);
}

TEST(RequestRecordsTest, EachChangeIsAnotherVersion) {
  RequestRecords records;
  uint64_t last = records.version();
  const auto changes = [&] { return std::exchange(last, records.version()) != last; };
  const auto record = records.Begin(CallOf(1), "tiny", {}, kStart);
  EXPECT_TRUE(changes());
  EXPECT_FALSE(changes());
  record->OnPrompt(1);
  EXPECT_TRUE(changes());
  record->OnTokens(1, 0, kStart);
  EXPECT_TRUE(changes());
  records.End(*record, RequestState::kDone, "");
  EXPECT_TRUE(changes());
}

TEST(RequestRecordsTest, PartsOfACallAreOneRecordWithTheFirstReason) {
  RequestRecords records;
  const auto record = records.Begin(CallOf(1), "tiny", {}, kStart);
  EXPECT_EQ(records.Begin(CallOf(1), "tiny", {}, kStart), record);
  records.End(*record, RequestState::kFailed, "nothing fits");
  EXPECT_FALSE(record->has_ended());
  records.End(*record, RequestState::kCanceled, "another choice of its answer failed");
  EXPECT_EQ(record->view().state, RequestState::kFailed);
  EXPECT_EQ(record->view().error, "nothing fits");
}

TEST(RequestRecordsTest, ABatchThatBeginsItsNextTextGoesOn) {
  RequestRecords records;
  const auto record = records.Begin(CallOf(1), "tiny", {}, kStart);
  records.End(*record, RequestState::kDone, "");
  EXPECT_EQ(records.Begin(CallOf(1), "tiny", {}, kStart), record);
  EXPECT_EQ(record->view().ended_ms, 0);
  EXPECT_EQ(record->view().state, RequestState::kQueued);
  EXPECT_EQ(records.All().size(), 1u);
}

TEST(RequestRecordsTest, KeepsTheLastThatEndedAndAllThatRun) {
  RequestRecords records;
  const auto runs = records.Begin(CallOf(0), "tiny", {}, kStart);
  for (uint32_t i = 1; i <= kKeptRequests + 3; ++i)
    records.End(*records.Begin(CallOf(i), "tiny", {}, kStart), RequestState::kDone, "");
  const auto all = records.All();
  ASSERT_EQ(all.size(), kKeptRequests + 1);
  EXPECT_EQ(all.front()->id(), CallOf(kKeptRequests + 3)) << "the newest first";
  EXPECT_EQ(all.back()->id(), CallOf(0));
  EXPECT_EQ(records.Find(CallOf(3)), nullptr);
  EXPECT_NE(records.Find(CallOf(4)), nullptr);
}

TEST(RequestRecordsTest, KeepsTheLatestTracesAndThoseThatRunBefore) {
  RequestRecords records;
  const auto runs = records.Begin(CallOf(0), "tiny", {}, kStart);
  for (uint32_t i = 1; i <= kKeptTraces; ++i)
    records.End(*records.Begin(CallOf(i), "tiny", {}, kStart), RequestState::kDone, "");
  EXPECT_NE(runs->trace(), nullptr);
  EXPECT_EQ(records.Find(CallOf(1))->trace(), nullptr);
  EXPECT_NE(records.Find(CallOf(2))->trace(), nullptr);
}

}  // namespace
}  // namespace exo::node
