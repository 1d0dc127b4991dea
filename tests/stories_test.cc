// stories260K, a real model: logits, greedy ids and perplexity against the float64 reference, for
// every weight format it comes in, and the split file against the single one.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backend/devices.h"
#include "engine/local.h"
#include "store/model.h"
#include "tests/support/shared_data.h"

namespace exo {
namespace {

using nlohmann::json;
using testing::ReadAll;
using testing::SharedPath;

constexpr const char* kFolder = "data/models/stories260K/";

struct Loaded {
  std::unique_ptr<backend::Backend> backend;
  std::shared_ptr<const store::ModelFile> file;
  std::unique_ptr<backend::TensorSource> source;
  std::unique_ptr<engine::LocalModel> model;
};

Loaded Load(const std::string& name, kernels::KvType kv, std::vector<uint32_t> cuts = {}) {
  Loaded loaded;
  loaded.backend = backend::MakeBackend({.threads = 2}).value();
  auto file = store::ModelFile::Open(SharedPath(std::string(kFolder) + "gguf/" + name));
  EXPECT_TRUE(file.has_value()) << file.error().message;
  loaded.file = *file;
  loaded.source = loaded.file->MakeSource().value();
  auto model = engine::LocalModel::Load(*loaded.backend, loaded.file->manifest().config(),
                                        loaded.file->manifest().tensors(), *loaded.source,
                                        {.kv_type = kv, .chunk = 64, .cuts = std::move(cuts)});
  EXPECT_TRUE(model.has_value()) << model.error().message;
  loaded.model = std::move(*model);
  return loaded;
}

// Logits of every position of `ids`.
std::vector<float> Logits(engine::LocalModel& model, const std::vector<TokenId>& ids) {
  std::vector<float> logits(ids.size() * model.config().vocab);
  EXPECT_TRUE(model.Open(1, static_cast<uint32_t>(ids.size())));
  const auto done = model.Append(1, 0, ids, ids.size(), logits);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  model.Close(1);
  return logits;
}

json Reference() {
  return json::parse(
      ReadAll(SharedPath(std::string(kFolder) + "reference/greedy_and_logits.json")));
}

double WorstLogit(kernels::KvType kv) {
  Loaded loaded = Load("stories260K-f32.gguf", kv);
  double worst = 0;
  for (const json& prompt : Reference()["prompts"]) {
    if (!prompt.contains("logits_file") || prompt["logits_file"].is_null()) continue;
    const std::string bytes = ReadAll(
        SharedPath(std::string(kFolder) + "reference/" + prompt["logits_file"].get<std::string>()));
    const auto got = Logits(*loaded.model, prompt["ids"]);
    EXPECT_EQ(bytes.size(), got.size() * sizeof(float));
    for (size_t i = 0; i < got.size(); ++i) {
      float expected;
      std::memcpy(&expected, bytes.data() + i * sizeof(float), sizeof(float));
      worst = std::max(worst, std::abs(double{got[i]} - double{expected}));
    }
  }
  return worst;
}

TEST(StoriesTest, F32LogitsAreWithinAThousandthOfFloat64) {
  EXO_NEED_SHARED(kFolder);
  const double worst = WorstLogit(kernels::KvType::kF32);
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 1e-3);
  std::printf("  largest difference with f32 KV: %.2e\n", worst);
}

TEST(StoriesTest, F16CacheKeepsLogitsWithinThreeHundredths) {
  EXO_NEED_SHARED(kFolder);
  const double worst = WorstLogit(kernels::KvType::kF16);
  EXPECT_LT(worst, 3e-2);
  std::printf("  largest difference with f16 KV: %.2e\n", worst);
}

struct Format {
  const char* file;
  double margin;  // ids must be equal where the reference's margin is larger
};

class GreedyTest : public ::testing::TestWithParam<Format> {};

// float64 logits of the same (dequantized) weights, from tools/reference.py.
std::vector<float> ReferenceLogits(const std::string& model, const std::vector<TokenId>& ids) {
  const std::string out =
      ::testing::TempDir() + "exo-stories-" + std::to_string(::getpid()) + ".f32";
  std::string list;
  for (const TokenId id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
  const std::string command = "/usr/bin/python3 " EXO_SOURCE_DIR "/tools/reference.py logits '" +
                              model + "' --ids " + list + " --out '" + out + "' >/dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  const std::string bytes = ReadAll(out);
  std::remove(out.c_str());
  std::vector<float> logits(bytes.size() / sizeof(float));
  std::memcpy(logits.data(), bytes.data(), logits.size() * sizeof(float));
  return logits;
}

// Teacher-forced: each step continues the same ids, so that one thin margin does not hide the rest.
TEST_P(GreedyTest, IdsEqualWhereverTheMarginIsNotThin) {
  EXO_NEED_SHARED(kFolder);
  Loaded loaded = Load(GetParam().file, kernels::KvType::kF32);
  const std::string path = SharedPath(std::string(kFolder) + "gguf/" + GetParam().file);
  size_t steps = 0, thin = 0;
  double thinnest_wrong = 0;
  for (const json& prompt : Reference()["prompts"]) {
    std::vector<TokenId> ids = prompt["ids"];
    const size_t prompt_size = ids.size();
    const std::vector<TokenId> greedy = prompt["greedy_ids"];
    ids.insert(ids.end(), greedy.begin(), greedy.end());
    ids.resize(std::min<size_t>(ids.size(), loaded.model->config().context));
    const auto logits = Logits(*loaded.model, ids);
    const auto expected = ReferenceLogits(path, ids);
    ASSERT_EQ(expected.size(), logits.size());
    for (size_t at = prompt_size - 1; at < ids.size(); ++at) {
      std::vector<float> row(expected.begin() + static_cast<std::ptrdiff_t>(at * 512),
                             expected.begin() + static_cast<std::ptrdiff_t>(at * 512 + 512));
      const auto best = std::max_element(row.begin(), row.end()) - row.begin();
      const float* got = logits.data() + at * 512;
      const auto own = std::max_element(got, got + 512) - got;
      std::nth_element(row.begin(), row.begin() + 1, row.end(), std::greater<>());
      const double margin = double{row[0]} - double{row[1]};
      ++steps;
      if (own != best) thinnest_wrong = std::max(thinnest_wrong, margin);
      if (margin <= GetParam().margin) {
        ++thin;
      } else {
        EXPECT_EQ(own, best) << prompt["name"] << " position " << at << " margin " << margin;
      }
    }
  }
  std::printf("  %s: %zu steps, %zu with a margin under %.3f; widest margin that differed %.4f\n",
              GetParam().file, steps, thin, GetParam().margin, thinnest_wrong);
  EXPECT_GT(steps, 500u);
  EXPECT_LT(thin, steps / 4);
}

INSTANTIATE_TEST_SUITE_P(Formats, GreedyTest,
                         ::testing::Values(Format{"stories260K-f32.gguf", 0.001},
                                           Format{"stories260K-f16.gguf", 0.003},
                                           Format{"stories260K-bf16.gguf", 0.015},
                                           Format{"stories260K-q8_0.gguf", 0.25},
                                           Format{"stories260K-q4_0.gguf", 0.25}),
                         [](const auto& info) { return "Format" + std::to_string(info.index); });

struct Perplexity {
  const char* file;
  const char* variant;
};

class PerplexityTest : public ::testing::TestWithParam<Perplexity> {};

TEST_P(PerplexityTest, IsWithinHalfAPercentOfTheReference) {
  EXO_NEED_SHARED(kFolder);
  const json reference =
      json::parse(ReadAll(SharedPath(std::string(kFolder) + "reference/nll.json")));
  Loaded loaded = Load(GetParam().file, kernels::KvType::kF16);
  double sum = 0;
  size_t count = 0;
  for (const json& story : reference["stories"]) {
    const std::vector<TokenId> ids = story["ids"];
    const auto logits = Logits(*loaded.model, ids);
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      const float* row = logits.data() + t * 512;
      const double top = *std::max_element(row, row + 512);
      double total = 0;
      for (size_t i = 0; i < 512; ++i) total += std::exp(row[i] - top);
      sum -= row[ids[t + 1]] - top - std::log(total);
      ++count;
    }
  }
  const double expected = reference["variants"][GetParam().variant]["perplexity"];
  const double got = std::exp(sum / static_cast<double>(count));
  std::printf("  %s: perplexity %.5f, reference %.5f (%+.3f %%)\n", GetParam().variant, got,
              expected, 100 * (got / expected - 1));
  EXPECT_EQ(count, reference["variants"][GetParam().variant]["tokens"].get<size_t>());
  EXPECT_NEAR(got / expected, 1, 0.005);
}

INSTANTIATE_TEST_SUITE_P(Formats, PerplexityTest,
                         ::testing::Values(Perplexity{"stories260K-f32.gguf", "f32"},
                                           Perplexity{"stories260K-f16.gguf", "f16"},
                                           Perplexity{"stories260K-bf16.gguf", "bf16"},
                                           Perplexity{"stories260K-q8_0.gguf", "q8_0"},
                                           Perplexity{"stories260K-q4_0.gguf", "q4_0"}),
                         [](const auto& info) { return std::string(info.param.variant); });

TEST(StoriesTest, SplitFileAndEverySplitOfLayersGiveTheSameBits) {
  EXO_NEED_SHARED(kFolder);
  const std::vector<TokenId> ids = Reference()["prompts"].back()["ids"];
  const auto single = Logits(*Load("stories260K-f16.gguf", kernels::KvType::kF16).model, ids);
  const auto split =
      Logits(*Load("stories260K-f16-00002-of-00003.gguf", kernels::KvType::kF16).model, ids);
  EXPECT_EQ(single, split);
  for (const auto& cuts : std::vector<std::vector<uint32_t>>{{2}, {1, 3}, {1, 2, 3, 4}}) {
    EXPECT_EQ(single, Logits(*Load("stories260K-f16.gguf", kernels::KvType::kF16, cuts).model, ids))
        << cuts.size();
  }
}

}  // namespace
}  // namespace exo
