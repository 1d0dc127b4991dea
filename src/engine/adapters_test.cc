// Low-rank adapters on a small random model: what rule 14 of docs/arithmetic.md promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "base/sha256.h"
#include "engine/local.h"

namespace exo::engine {
namespace {

using backend::AdapterUse;
using backend::Kind;
using backend::StageAdapter;
using backend::TestModel;
using tensor::DType;

constexpr size_t kVocab = TestModel::kVocab;
using Uses = std::vector<AdapterUse>;

struct Division {
  kernels::Isa isa = kernels::Isa::kReference;
  unsigned threads = 1;
  uint32_t chunk = 64;
  std::vector<uint32_t> cuts;
};

std::vector<TokenId> Prompt(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % kVocab));
  return tokens;
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

struct Model {
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<LocalModel> local;
};
Model Load(TestModel& fixture, const Division& division, std::vector<StageAdapter> adapters) {
  Model model;
  model.backend = backend::MakeBackend({.isa = std::string(kernels::IsaName(division.isa)),
                                        .threads = division.threads})
                      .value();
  auto local = LocalModel::Load(
      *model.backend, fixture.config, fixture.tensors, fixture.source,
      {.chunk = division.chunk, .cuts = division.cuts, .adapters = std::move(adapters)});
  EXPECT_TRUE(local.has_value()) << local.error().message;
  model.local = std::move(*local);
  return model;
}

// Logits of every position of a prompt.
std::vector<float> Logits(LocalModel& model, const Uses& uses, size_t n,
                          backend::SequenceId id = 1) {
  EXPECT_TRUE(model.Open(id, static_cast<uint32_t>(n + 8), uses));
  std::vector<float> logits(n * kVocab);
  const auto done = model.Append(id, 0, Prompt(n), n, logits);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return logits;
}

// Root of the mean squares of the difference, in those of `a`.
double Distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    size += double{a[i]} * a[i];
  }
  return std::sqrt(difference / size);
}

class AdaptersTest : public testing::TestWithParam<std::tuple<DType, Kind>> {
 protected:
  AdaptersTest()
      : fixture_(std::get<0>(GetParam()), DType::kQ8_0, std::get<1>(GetParam())),
        adapters_({fixture_.MakeAdapter("one.", DType::kF32, 4, 8),
                   fixture_.MakeAdapter("two.", DType::kF16, 17, 0),
                   fixture_.MakeAdapter("three.", DType::kQ8_0, 32, 16)}) {}

  TestModel fixture_;
  std::vector<StageAdapter> adapters_;
};

TEST_P(AdaptersTest, SameBitsForEveryDivisionOfTheWork) {
  const size_t n = 19;
  const Uses uses = {{0, 0.5f}, {1, 0.25f}, {2, -1}};
  const auto expected = Logits(*Load(fixture_, {}, adapters_).local, uses, n);
  EXPECT_TRUE(std::ranges::all_of(expected, [](float v) { return std::isfinite(v); }));
  const std::vector<Division> divisions = {{.threads = 3},
                                           {.chunk = 1},
                                           {.threads = 2, .chunk = 7, .cuts = {2}},
                                           {.chunk = 16, .cuts = {1, 4}}};
  for (const kernels::Isa isa : kernels::kIsas) {
    if (!kernels::KernelsFor(isa)) continue;
    for (Division division : divisions) {
      if (isa == kernels::Isa::kReference && division.chunk == 1) continue;  // slow
      division.isa = isa;
      const Model model = Load(fixture_, division, adapters_);
      EXPECT_TRUE(SameBits(expected, Logits(*model.local, uses, n)))
          << kernels::IsaName(isa) << " threads " << division.threads << " chunk " << division.chunk
          << " cuts " << division.cuts.size();
    }
  }
  // Without, with others, with other scales: other logits.
  const Model model = Load(fixture_, {.isa = kernels::Isa::kReference}, adapters_);
  backend::SequenceId id = 2;
  for (const Uses& other : {Uses{}, Uses{{0, 0.5f}}, Uses{{0, 0.5f}, {1, 0.25f}, {2, 1}}})
    EXPECT_FALSE(SameBits(expected, Logits(*model.local, other, n, id++)));
}

TEST_P(AdaptersTest, ASequenceWithoutAdaptersHasTheBitsOfAModelWithoutAny) {
  const size_t n = 9;
  const Model with = Load(fixture_, {}, {});
  const auto expected = Logits(*with.local, {}, n);
  for (const kernels::Isa isa : kernels::kIsas) {
    if (!kernels::KernelsFor(isa)) continue;
    EXPECT_TRUE(SameBits(expected, Logits(*Load(fixture_, {.isa = isa}, adapters_).local, {}, n)));
  }
}

// Sequences with different adapters in one batch, each as it is alone.
TEST_P(AdaptersTest, SequencesOfABatchHaveTheirOwnAdapters) {
  const std::vector<Uses> uses = {
      {{1, 1}}, {}, {{0, 1}}, {{1, 0.5f}}, {{0, 2}}, {{2, 1.5f}}, {{0, 1}, {2, 1.5f}}, {{1, 1}}};
  const Division best = {
      .isa = *std::ranges::find_if(
          kernels::kIsas, [](kernels::Isa isa) { return kernels::KernelsFor(isa).has_value(); }),
      .threads = 2};
  const size_t prompt = 5, steps = 3;
  const Model together = Load(fixture_, best, adapters_);
  std::vector<std::vector<float>> alone;
  for (const Uses& one : uses) {
    const Model model = Load(fixture_, best, adapters_);
    alone.push_back(Logits(*model.local, one, prompt + steps));
  }
  for (size_t i = 0; i < uses.size(); ++i) Logits(*together.local, uses[i], prompt, i + 1);
  const auto tokens = Prompt(prompt + steps);
  for (size_t step = 0; step < steps; ++step) {
    std::vector<LocalModel::Next> next;
    for (size_t i = 0; i < uses.size(); ++i)
      next.push_back({i + 1, static_cast<uint32_t>(prompt + step), tokens[prompt + step]});
    std::vector<float> logits(uses.size() * kVocab);
    ASSERT_TRUE(together.local->Step(next, logits));
    for (size_t i = 0; i < uses.size(); ++i) {
      EXPECT_TRUE(SameBits(std::span(logits).subspan(i * kVocab, kVocab),
                           std::span(alone[i]).subspan((prompt + step) * kVocab, kVocab)))
          << "sequence " << i << " step " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, AdaptersTest,
                         testing::Values(std::tuple{DType::kQ4_0, Kind::kLlama},
                                         std::tuple{DType::kF16, Kind::kQwen},
                                         std::tuple{DType::kQ4_K, Kind::kGemma},
                                         std::tuple{DType::kQ8_0, Kind::kExperts},
                                         std::tuple{DType::kQ4_0, Kind::kSharedExpert}));

// W + scale B A as weights says the same up to rounding.
TEST(AdapterTest, IsCloseToTheMergedWeights) {
  for (const Kind kind : {Kind::kLlama, Kind::kGemma}) {
    TestModel fixture(DType::kF32, DType::kF32, kind);
    const StageAdapter adapter = fixture.MakeAdapter("one.", DType::kF32, 8, 4);
    const size_t n = 19;
    const auto plain = Logits(*Load(fixture, {}, {}).local, {}, n);
    const auto adapted = Logits(*Load(fixture, {}, {adapter}).local, {{0, 1.5f}}, n);
    const double scale = 1.5 * 4 / 8;
    const auto merge = [&](const model::TensorRef& base, const model::AdapterPair& pair) {
      const std::span<float> w = fixture.source.Values(base);
      const std::span<float> a = fixture.source.Values(pair.a);
      const std::span<float> b = fixture.source.Values(pair.b);
      for (size_t row = 0; row < base.rows; ++row) {
        for (size_t col = 0; col < base.cols; ++col) {
          double sum = 0;
          for (size_t i = 0; i < pair.a.rows; ++i)
            sum += double{b[row * pair.a.rows + i]} * a[i * base.cols + col];
          w[row * base.cols + col] += static_cast<float>(scale * sum);
        }
      }
    };
    for (size_t i = 0; i < fixture.tensors->layers.size(); ++i) {
      const model::LayerTensors& layer = fixture.tensors->layers[i];
      const std::array<const model::TensorRef*, model::kAdapterTargets> bases = {
          &layer.attn_q,    &layer.attn_k,  &layer.attn_v,   &layer.attn_output,
          &*layer.ffn_gate, &*layer.ffn_up, &*layer.ffn_down};
      for (size_t t = 0; t < bases.size(); ++t)
        merge(*bases[t], *adapter.tensors->layers[i].pairs[t]);
    }
    const auto merged = Logits(*Load(fixture, {}, {}).local, {}, n);
    EXPECT_GT(Distance(adapted, plain), 0.05);
    EXPECT_LT(Distance(adapted, merged), 0.01) << Distance(adapted, merged);
  }
}

// The bits themselves: a change of rule 14 shows here.
TEST(AdapterTest, TheBitsAreThoseOfTheRule) {
  TestModel fixture(DType::kQ4_0, DType::kQ8_0, Kind::kLlama);
  const std::vector<StageAdapter> adapters = {fixture.MakeAdapter("one.", DType::kF32, 4, 8),
                                              fixture.MakeAdapter("two.", DType::kBF16, 5, 0)};
  const auto logits = Logits(*Load(fixture, {}, adapters).local, {{0, 0.5f}, {1, -0.75f}}, 9);
  Sha256 hash;
  hash.Update(std::as_bytes(std::span(logits)));
  EXPECT_EQ(hash.Finish().Hex().substr(0, 16), "52c1686b047acff7");
}

TEST(AdapterTest, AStageRefusesAdaptersThatItDoesNotHave) {
  TestModel fixture(DType::kQ4_0, DType::kQ8_0, Kind::kLlama);
  const Model model = Load(fixture, {}, {fixture.MakeAdapter("one.", DType::kF32, 4, 8)});
  const auto code = [&](const Uses& uses) { return model.local->Open(1, 8, uses).error().code; };
  EXPECT_EQ(code({{1, 1}}), ErrorCode::kInvalid);
  EXPECT_EQ(code({{0, 1}, {0, 1}}), ErrorCode::kInvalid);
  EXPECT_TRUE(model.local->Open(1, 8, Uses{{0, 1}}));
}

}  // namespace
}  // namespace exo::engine
