// The promise of docs/arithmetic.md on a small random model: the same bits for every thread count,
// chunk size, batch, split and instruction set.
#include "engine/local.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "kernels/kernels.h"

namespace exo::engine {
namespace {

using backend::Kind;
using backend::SequenceId;
using backend::TestModel;
using tensor::DType;

struct Division {
  kernels::Isa isa = kernels::Isa::kReference;
  unsigned threads = 1;
  uint32_t chunk = 64;
  std::vector<uint32_t> cuts;
};

std::vector<TokenId> Prompt(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
  return tokens;
}

// Logits of every position of a prompt, prefilled in chunks.
std::vector<float> Logits(TestModel& fixture, const Division& division, size_t n,
                          kernels::KvType kv = kernels::KvType::kF16) {
  const auto backend = backend::MakeBackend({.isa = std::string(kernels::IsaName(division.isa)),
                                             .threads = division.threads})
                           .value();
  auto model = LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source,
                                {.kv_type = kv, .chunk = division.chunk, .cuts = division.cuts});
  EXPECT_TRUE(model.has_value()) << model.error().message;
  EXPECT_TRUE((*model)->Open(1, static_cast<uint32_t>(n)));
  std::vector<float> logits(n * 300);
  const auto done = (*model)->Append(1, 0, Prompt(n), n, logits);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return logits;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class ExactnessTest : public testing::TestWithParam<std::tuple<DType, DType, Kind>> {};

// Every division of the work gives the bits of the reference on one thread.
void ExpectSameBits(TestModel& fixture, kernels::KvType kv) {
  const size_t n = 29;  // more than the window, with a short last chunk
  const std::vector<float> expected = Logits(fixture, {}, n, kv);
  EXPECT_TRUE(std::ranges::all_of(expected, [](float v) { return std::isfinite(v); }));
  const std::vector<Division> divisions = {
      {.threads = 3},
      {.chunk = 1},
      {.threads = 2, .chunk = 7},
      {.cuts = {2}},
      {.threads = 2, .chunk = 16, .cuts = {0, 1, 4}},
      {.cuts = {1, 2, 3, 4}},
  };
  for (const kernels::Isa isa : kernels::kIsas) {
    if (!kernels::KernelsFor(isa)) continue;
    for (size_t i = 0; i < divisions.size(); ++i) {
      if (isa == kernels::Isa::kReference && i % 2 != 0) continue;  // slow: half of them
      Division division = divisions[i];
      division.isa = isa;
      EXPECT_TRUE(SameBits(expected, Logits(fixture, division, n, kv)))
          << kernels::IsaName(isa) << " threads " << division.threads << " chunk " << division.chunk
          << " cuts " << division.cuts.size();
    }
  }
  // The comparison can fail: another prompt's logits differ.
  EXPECT_FALSE(SameBits(expected, Logits(fixture, {}, n - 1, kv)));
}

TEST_P(ExactnessTest, SameBitsForEveryDivisionOfTheWork) {
  const auto [matrices, output, kind] = GetParam();
  TestModel fixture(matrices, output, kind);
  ExpectSameBits(fixture, kernels::KvType::kF16);
}

TEST(KvTypeTest, SameBitsWithAQuantizedCache) {
  TestModel fixture(DType::kQ4_0, DType::kQ6_K, Kind::kLlama);
  ExpectSameBits(fixture, kernels::KvType::kQ8_0);
}

TEST(KvTypeTest, QuantizedCacheIsCloseToF16) {
  TestModel fixture(DType::kF16, DType::kF16, Kind::kLlama);  // nothing else is quantized
  const auto q8 = Logits(fixture, {}, 41, kernels::KvType::kQ8_0);
  const auto f16 = Logits(fixture, {}, 41);
  double difference = 0, size = 0;
  for (size_t i = 0; i < q8.size(); ++i) {
    difference += (q8[i] - f16[i]) * (q8[i] - f16[i]);
    size += f16[i] * f16[i];
  }
  EXPECT_GT(difference, 0);
  EXPECT_LT(std::sqrt(difference / size), 0.02) << std::sqrt(difference / size);
}

INSTANTIATE_TEST_SUITE_P(Formats, ExactnessTest,
                         testing::Values(std::tuple{DType::kQ4_0, DType::kQ6_K, Kind::kLlama},
                                         std::tuple{DType::kQ8_0, DType::kQ8_0, Kind::kQwen},
                                         std::tuple{DType::kF16, DType::kF16, Kind::kLlama},
                                         std::tuple{DType::kBF16, DType::kF32, Kind::kQwen},
                                         std::tuple{DType::kQ4_0, DType::kQ8_0, Kind::kExperts},
                                         std::tuple{DType::kF16, DType::kQ8_0, Kind::kSharedExpert},
                                         std::tuple{DType::kQ8_0, DType::kF32, Kind::kExperts},
                                         std::tuple{DType::kQ4_0, DType::kQ8_0, Kind::kGemma},
                                         std::tuple{DType::kBF16, DType::kF16, Kind::kGemma},
                                         std::tuple{DType::kQ4_K, DType::kQ6_K, Kind::kQwen},
                                         std::tuple{DType::kQ3_K, DType::kQ5_K, Kind::kLlama},
                                         std::tuple{DType::kIQ4_XS, DType::kQ2_K, Kind::kLlama},
                                         std::tuple{DType::kQ5_0, DType::kIQ4_NL, Kind::kQwen},
                                         std::tuple{DType::kMXFP4, DType::kQ5_1, Kind::kLlama},
                                         std::tuple{DType::kIQ2_XXS, DType::kIQ3_S, Kind::kLlama},
                                         std::tuple{DType::kTQ2_0, DType::kIQ1_M, Kind::kQwen}));

// Decoding several sequences together gives each the logits that it has alone, also after a
// truncation.
class BatchTest : public testing::TestWithParam<Kind> {};

TEST_P(BatchTest, SequencesDoNotTouchEachOther) {
  TestModel fixture(DType::kQ4_0, DType::kQ8_0, GetParam());
  const auto backend = backend::MakeBackend({.threads = 2}).value();
  auto model =
      LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source, {.chunk = 32});
  ASSERT_TRUE(model);
  const auto prompt = Prompt(40);
  std::vector<float> unused;
  std::vector<std::vector<float>> alone(3, std::vector<float>(300));
  const std::vector<uint32_t> lengths = {5, 17, 33};
  for (size_t i = 0; i < 3; ++i) {
    const SequenceId id = 10 + i;
    ASSERT_TRUE((*model)->Open(id, 64));
    ASSERT_TRUE((*model)->Append(id, 0, std::span(prompt).first(lengths[i] + 1), 1, alone[i]));
    // Once more with a wrong token behind, then cut back to where the batch goes on.
    const std::vector<TokenId> wrong = {7, 8, 9};
    ASSERT_TRUE((*model)->Append(id, lengths[i] + 1, wrong, 0, unused));
    ASSERT_TRUE((*model)->Truncate(id, lengths[i]));
  }
  std::vector<LocalModel::Next> next;
  for (size_t i = 0; i < 3; ++i) next.push_back({10 + i, lengths[i], prompt[lengths[i]]});
  std::vector<float> together(3 * 300);
  ASSERT_TRUE((*model)->Step(next, together));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(std::memcmp(alone[i].data(), together.data() + i * 300, 300 * sizeof(float)), 0) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, BatchTest,
                         testing::Values(Kind::kLlama, Kind::kExperts, Kind::kSharedExpert,
                                         Kind::kGemma));

TEST(StepTest, BadSegmentsAreRefused) {
  TestModel fixture(DType::kQ8_0, DType::kQ8_0, Kind::kLlama);
  const auto backend = backend::MakeBackend({.isa = "reference", .threads = 1}).value();
  auto model =
      LocalModel::Load(*backend, fixture.config, fixture.tensors, fixture.source, {.chunk = 8});
  ASSERT_TRUE(model);
  std::vector<float> unused;
  const std::vector<TokenId> tokens = {1, 2, 3};
  EXPECT_EQ((*model)->Append(1, 0, tokens, 0, unused).error().code,
            ErrorCode::kInvalid);  // not open
  ASSERT_TRUE((*model)->Open(1, 3));
  EXPECT_FALSE((*model)->Open(1, 3));                       // twice
  EXPECT_FALSE((*model)->Append(1, 4, tokens, 0, unused));  // a gap
  const std::vector<TokenId> foreign = {300};
  EXPECT_FALSE((*model)->Append(1, 0, foreign, 0, unused));  // outside the vocabulary
  EXPECT_TRUE((*model)->Append(1, 0, tokens, 0, unused));
  EXPECT_FALSE((*model)->Append(1, 3, tokens, 0, unused));  // over its capacity
  EXPECT_FALSE((*model)->Truncate(1, 9));
}

}  // namespace
}  // namespace exo::engine
