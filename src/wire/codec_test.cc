#include "wire/codec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "wire/limits.h"
#include "wire/messages_generated.h"
#include "wire/random_message.h"

namespace exo::wire {
namespace {

constexpr size_t kTypes = std::variant_size_v<Message>;

Result<Message> Decode(const std::vector<std::byte>& frame) {
  auto header = ParseHeader(std::span(frame).first(kHeaderBytes), kMaxDataFrame);
  if (!header) return std::unexpected(header.error());
  return DecodeMessage(header->type,
                       std::span(frame).subspan(kHeaderBytes, header->metadata_bytes));
}

TEST(CodecTest, EveryMessageSurvivesTheRoundTrip) {
  test::RandomMessage random(1);
  for (size_t type = 0; type < kTypes; ++type) {
    for (int i = 0; i < 200; ++i) {
      const Message message = random.Make(type);
      const uint64_t tensor = random.rng().Below(2) * 4096;
      const auto frame = EncodeFrame(message, 77, tensor);
      const auto header = ParseHeader(std::span(frame).first(kHeaderBytes), kMaxDataFrame);
      ASSERT_TRUE(header) << header.error().message;
      EXPECT_EQ(header->type, type);
      EXPECT_EQ(header->sequence, 77u);
      EXPECT_EQ(header->FrameBytes(), frame.size() + tensor);
      if (tensor > 0) {
        EXPECT_EQ(frame.size() % kTensorAlign, 0u);
      }
      const auto decoded = Decode(frame);
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_TRUE(*decoded == message) << TypeName(static_cast<uint16_t>(type)) << " round " << i;
    }
  }
}

// FlatBuffers' verifier does not check where the elements of a vector lie: a peer may put them at
// any address.
TEST(CodecTest, ElementsMayLieAtAnyAddress) {
  test::RandomMessage random(5);
  for (size_t type = 0; type < kTypes; ++type) {
    const Message message = random.Make(type);
    const auto frame = EncodeFrame(message, 0);
    const auto header = ParseHeader(std::span(frame).first(kHeaderBytes), kMaxDataFrame);
    ASSERT_TRUE(header) << header.error().message;
    const auto metadata = std::span(frame).subspan(kHeaderBytes, header->metadata_bytes);
    for (size_t shift = 0; shift < 8; ++shift) {
      std::vector<std::byte> moved(shift);
      moved.insert(moved.end(), metadata.begin(), metadata.end());
      const auto decoded = DecodeMessage(header->type, std::span(moved).subspan(shift));
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_TRUE(*decoded == message) << TypeName(static_cast<uint16_t>(type)) << " at " << shift;
    }
  }
}

TEST(CodecTest, TruncatedOrFlippedMetadataNeverCrashes) {
  test::RandomMessage random(2);
  for (size_t type = 0; type < kTypes; ++type) {
    const auto frame = EncodeFrame(random.Make(type), 0);
    const std::span metadata = std::span(frame).subspan(kHeaderBytes);
    for (size_t size = 0; size < metadata.size(); ++size) {
      // A copy of exactly this size, so that a sanitizer sees every byte read too far.
      const std::vector<std::byte> cut(metadata.begin(),
                                       metadata.begin() + static_cast<long>(size));
      (void)DecodeMessage(static_cast<uint16_t>(type), cut);
    }
    for (int i = 0; i < 2000; ++i) {
      std::vector<std::byte> bad(metadata.begin(), metadata.end());
      for (uint64_t flips = 1 + random.rng().Below(4); flips > 0; --flips) {
        bad[random.rng().Below(bad.size())] ^= static_cast<std::byte>(1u << random.rng().Below(8));
      }
      (void)DecodeMessage(static_cast<uint16_t>(random.rng().Below(kTypes + 1)), bad);
    }
  }
}

TEST(CodecTest, MetadataMayStartAnywhere) {
  test::RandomMessage random(3);
  const Message message = random.Make(25);
  const auto frame = EncodeFrame(message, 0);
  std::vector<std::byte> shifted(frame.size() + 1);
  std::copy(frame.begin(), frame.end(), shifted.begin() + 1);
  const auto decoded = DecodeMessage(25, std::span(shifted).subspan(kHeaderBytes + 1));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(*decoded == message);
}

TEST(CodecTest, HeaderRefusesWhatItDoesNotKnow) {
  const auto good = EncodeFrame(Heartbeat{}, 5);
  const auto parse = [](std::vector<std::byte> bytes, uint64_t limit = 1 << 20) {
    return ParseHeader(std::span(bytes).first(kHeaderBytes), limit);
  };
  EXPECT_TRUE(parse(good));
  for (const size_t at : {0u, 3u, 6u, 7u, 12u, 15u}) {
    auto bad = good;
    bad[at] ^= std::byte{0x80};
    EXPECT_FALSE(parse(bad)) << "byte " << at;
  }
  EXPECT_FALSE(parse(good, good.size() - 1));
  EXPECT_TRUE(parse(good, good.size()));
  EXPECT_FALSE(ParseHeader(std::span(good).first(kHeaderBytes - 1), 1 << 20));
}

TEST(CodecTest, HeaderSizesCannotWrap) {
  auto frame = EncodeFrame(Step{}, 0, 64);
  for (size_t i = 16; i < 24; ++i) frame[i] = std::byte{0xff};
  EXPECT_FALSE(ParseHeader(std::span(frame).first(kHeaderBytes), kMaxDataFrame));
  frame[16] = std::byte{0xc0};  // 2^64 - 64: with the offset in front it would wrap to a small sum
  EXPECT_FALSE(ParseHeader(std::span(frame).first(kHeaderBytes), kMaxDataFrame));
}

TEST(CodecTest, ASamplerThatCannotBeFollowedIsRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const auto decodes = [](const SamplerSettings& sampler, const SamplerState& state = {}) {
    return Decode(EncodeFrame(Submit{.sampler = sampler, .state = state}, 0)).has_value();
  };
  EXPECT_TRUE(decodes({.logit_bias = {{3, -infinity}}}));
  EXPECT_FALSE(decodes({.logit_bias = {{3, infinity}}}));
  EXPECT_FALSE(decodes({.logit_bias = {{3, nan}}}));
  EXPECT_FALSE(decodes({.logit_bias = std::vector<LogitBias>(kMaxLogitBias + 1)}));
  EXPECT_FALSE(decodes({.dry_base = infinity}));
  EXPECT_FALSE(decodes({.mirostat_tau = nan}));
  EXPECT_FALSE(decodes({.order = {static_cast<SamplerStep>(9)}}));  // of a newer version
  EXPECT_FALSE(decodes({.order = std::vector<SamplerStep>(kMaxSamplerSteps + 1)}));
  EXPECT_FALSE(decodes({.top_logprobs = kMaxTopLogprobs + 1}));
  EXPECT_FALSE(decodes({}, {.mirostat_mu = nan}));
  EXPECT_FALSE(decodes({}, {.grammar = std::vector<uint8_t>(kMaxGrammarState + 1)}));
}

TEST(CodecTest, RowsOfConversationsHaveLimits) {
  const auto decodes = [](const Message& message) {
    return Decode(EncodeFrame(message, 0)).has_value();
  };
  const auto row = [](size_t text, size_t data) {
    return ConversationRows{
        .rows = {{.text = std::string(text, 't'), .data = std::string(data, 'd')}}};
  };
  EXPECT_TRUE(decodes(row(kMaxRowBytes - 5, 5)));
  EXPECT_FALSE(decodes(row(kMaxRowBytes - 5, 6)));
  EXPECT_LT(EncodeFrame(row(kMaxRowBytes, 0), 0).size(), kMaxControlFrame / 2 + 4096);
  EXPECT_FALSE(decodes(ConversationPull{.rows = std::vector<uint64_t>(kMaxRowVersions + 1)}));
  EXPECT_FALSE(decodes(ConversationVersions{.versions = {{.updated_ms = kMaxWallMs + 1}}}));
  EXPECT_FALSE(decodes(ConversationVersions{.versions = {{.updated_ms = 3, .cleared_ms = 4}}}));
}

TEST(CodecTest, LogprobsBelongToTheTokensBesideThem) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto decodes = [](const Logprobs& logprobs) {
    return Decode(EncodeFrame(Tokens{.tokens = {1, 2}, .logprobs = logprobs}, 0)).has_value();
  };
  EXPECT_TRUE(decodes({}));
  EXPECT_TRUE(decodes({.sampled = {-1, -infinity}}));
  EXPECT_TRUE(decodes({.sampled = {-1, 0}, .top = std::vector<TopLogprob>(4)}));
  EXPECT_FALSE(decodes({.sampled = {-1}}));
  EXPECT_FALSE(decodes({.sampled = {-1, infinity}}));
  EXPECT_FALSE(decodes({.sampled = {-1, 0}, .top = std::vector<TopLogprob>(3)}));
  EXPECT_FALSE(decodes({.top = std::vector<TopLogprob>(2)}));
  EXPECT_FALSE(
      decodes({.sampled = {-1, 0}, .top = std::vector<TopLogprob>(2 * (kMaxTopLogprobs + 1))}));
}

TEST(CodecTest, DecoderKeepsItsLimits) {
  Submit submit;
  submit.stop_tokens.resize(kMaxStopTokens);
  EXPECT_TRUE(Decode(EncodeFrame(submit, 0)));
  submit.stop_tokens.resize(kMaxStopTokens + 1);
  EXPECT_FALSE(Decode(EncodeFrame(submit, 0)));
  submit.stop_tokens.clear();
  submit.sampler.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(Decode(EncodeFrame(submit, 0)));

  Step step;
  step.items.resize(kMaxStepItems + 1);
  EXPECT_FALSE(Decode(EncodeFrame(step, 0)));
  step = {.truncate = std::vector<StepTruncate>(kMaxStepItems + 1)};
  EXPECT_FALSE(Decode(EncodeFrame(step, 0)));
  step = {.fork = std::vector<StepFork>(kMaxStepItems + 1)};
  EXPECT_FALSE(Decode(EncodeFrame(step, 0)));
  TensorReply piece;
  piece.bytes.resize(kMaxTensorPiece + 1);
  EXPECT_FALSE(Decode(EncodeFrame(piece, 0)));
  DesiredUpdate update;
  update.models.push_back({.version = {.wall_ms = kMaxWallMs + 1}});
  EXPECT_FALSE(Decode(EncodeFrame(update, 0)));  // could not be superseded
}

TEST(CodecTest, EncoderCutsTextsBetweenCharacters) {
  Hello hello;
  for (int i = 0; i < 200; ++i) hello.name += "ü";
  const auto decoded = Decode(EncodeFrame(hello, 0));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<Hello>(*decoded).name.size(), kMaxName);
  hello.name = "x" + hello.name;
  EXPECT_EQ(std::get<Hello>(*Decode(EncodeFrame(hello, 0))).name.size(), kMaxName - 1);
}

TEST(CodecTest, SkipsAMessageOfANewerVersion) {
  auto frame = EncodeFrame(Heartbeat{}, 5);
  frame[4] = std::byte{200};
  const auto header = ParseHeader(std::span(frame).first(kHeaderBytes), 1 << 20);
  ASSERT_TRUE(header) << header.error().message;  // its length is known: the next frame is found
  EXPECT_FALSE(IsKnown(header->type));
  EXPECT_EQ(header->FrameBytes(), frame.size());
  const auto decoded = Decode(frame);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ErrorCode::kUnsupported);
}

// A LeaseRenew as version 3 could have it: two more fields at the end of the table.
TEST(CodecTest, IgnoresFieldsOfANewerVersion) {
  flatbuffers::FlatBufferBuilder builder;
  const std::array<uint8_t, 16> plan = {7};
  const auto text = builder.CreateString("of version 3");
  const auto start = builder.StartTable();
  builder.AddStruct(4, reinterpret_cast<const fb::Id16*>(plan.data()));
  builder.AddElement<uint64_t>(6, 42, 0);
  builder.AddOffset(8, text);
  builder.Finish(flatbuffers::Offset<fb::LeaseRenew>(builder.EndTable(start)));
  const auto bytes = std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
  const auto decoded = DecodeMessage(TypeOf(LeaseRenew{}), bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(std::get<LeaseRenew>(*decoded).plan.bytes[0], 7);
}

// Fields that an older version did not send read as their defaults.
TEST(CodecTest, MissingFieldsHaveTheirDefaults) {
  flatbuffers::FlatBufferBuilder builder;
  const auto start = builder.StartTable();
  builder.Finish(flatbuffers::Offset<fb::DesiredUpdate>(builder.EndTable(start)));
  const auto bytes = std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
  const auto decoded = DecodeMessage(TypeOf(DesiredUpdate{}), bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_TRUE(std::get<DesiredUpdate>(*decoded) == DesiredUpdate{});
}

TEST(CodecTest, UnknownValuesOfEnumerationsBecomeSafeOnes) {
  HelloReply reply;
  reply.code = static_cast<RefusalCode>(99);
  EXPECT_EQ(std::get<HelloReply>(*Decode(EncodeFrame(reply, 0))).code, RefusalCode::kNotMember);
  Release release;
  release.cause.reason = static_cast<Reason>(200);
  release.cause.code = static_cast<ErrorCode>(200);
  const auto cause = std::get<Release>(*Decode(EncodeFrame(release, 0))).cause;
  EXPECT_EQ(cause.reason, Reason::kUnspecified);
  EXPECT_EQ(cause.code, ErrorCode::kUnsupported);
  InstanceSummary summary;
  summary.state = static_cast<InstanceState>(77);
  EXPECT_EQ(std::get<InstanceSummary>(*Decode(EncodeFrame(summary, 0))).state,
            InstanceState::kReserving);  // never sent a request
  DesiredUpdate update;
  update.models.push_back({.state = static_cast<DesiredState>(9)});
  EXPECT_EQ(std::get<DesiredUpdate>(*Decode(EncodeFrame(update, 0))).models[0].state,
            DesiredState::kOnDemand);  // neither loads nor ends anything
  Finished finished;
  finished.reason = static_cast<FinishReason>(9);
  EXPECT_EQ(std::get<Finished>(*Decode(EncodeFrame(finished, 0))).reason, FinishReason::kError);
  Hello hello;
  hello.channel = static_cast<Channel>(9);
  EXPECT_FALSE(Decode(EncodeFrame(hello, 0)));  // no channel may be taken for another
}

TEST(CodecTest, HealthHasItsBounds) {
  NodeUpdate update;
  EXPECT_EQ(std::get<NodeUpdate>(*Decode(EncodeFrame(update, 0))).record.health, HealthRecord{});
  update.record.health = {.power = static_cast<PowerSource>(9), .charge = 0, .withheld = 100};
  const auto health = std::get<NodeUpdate>(*Decode(EncodeFrame(update, 0))).record.health;
  EXPECT_EQ(health.power, PowerSource::kUnknown);
  EXPECT_EQ(health.charge, 0u);
  EXPECT_EQ(health.withheld, kAllWithheld);
  update.record.health.withheld = 101;
  EXPECT_FALSE(Decode(EncodeFrame(update, 0)));
  update.record.health = {.charge = 101};
  EXPECT_FALSE(Decode(EncodeFrame(update, 0)));
}

TEST(CodecTest, NumbersOfMessagesAreFixed) {
  EXPECT_STREQ(TypeName(TypeOf(Hello{})), "Hello");
  EXPECT_EQ(TypeOf(HelloReply{}), 1);
  EXPECT_EQ(TypeOf(Submit{}), 17);
  EXPECT_STREQ(TypeName(TypeOf(StepFailed{})), "StepFailed");
  EXPECT_EQ(TypeOf(StepFailed{}), 26);
  EXPECT_EQ(TypeOf(EnsureRefused{}), 27);
  EXPECT_EQ(TypeOf(PlanReply{}), 32);
  EXPECT_EQ(TypeOf(PauseRequest{}), 33);
}

}  // namespace
}  // namespace exo::wire
