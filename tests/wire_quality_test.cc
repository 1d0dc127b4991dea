// What a lossy wire costs in words: perplexity, and how often the likeliest next token is another
// one, over three stages and a text that the models were not trained on (docs/performance.md).
// EXO_BENCH=1 takes eight times as much of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backend/devices.h"
#include "engine/local.h"
#include "model/tokenizer.h"
#include "store/model.h"
#include "tests/support/shared_data.h"
#include "wire/plan.h"

namespace exo {
namespace {

using tensor::RowCodec;
using testing::SharedPath;

constexpr const char* kText = "data/text/tinystories/hf-order-first-cased.txt.xz";
constexpr size_t kWindow = 128;

struct Case {
  const char* name;
  std::string path;
};

class WireQualityTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    EXO_NEED_SHARED(kText);
    EXO_NEED_SHARED("data/models/stories260K/gguf/stories260K-f16.gguf");
    auto file = store::ModelFile::Open(GetParam().path);
    ASSERT_TRUE(file) << file.error().message;
    file_ = *file;
    const auto tokenizer = model::Tokenizer::Load(file_->manifest().gguf());
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    const size_t windows = std::getenv("EXO_BENCH") != nullptr ? 64 : 8;
    const std::string text = testing::ReadXz(SharedPath(kText));
    // Its end was held out.
    ids_ = (*tokenizer)->Encode(text.substr(text.size() - windows * kWindow * 8), false);
    ASSERT_GE(ids_.size(), windows * kWindow);
    ids_.resize(windows * kWindow);
  }

  struct Outcome {
    double perplexity = 0;
    std::vector<size_t> best;  // of each position
  };
  Outcome Measure(RowCodec codec) {
    Outcome outcome;
    const auto backend = backend::MakeBackend({.threads = 2}).value();
    const auto source = file_->MakeSource().value();
    const auto& config = file_->manifest().config();
    const auto model = engine::LocalModel::Load(
        *backend, config, file_->manifest().tensors(), *source,
        {.chunk = 64, .cuts = {config->layers / 3, config->layers * 2 / 3}, .codec = codec});
    EXPECT_TRUE(model) << model.error().message;
    const size_t vocab = config->vocab;
    std::vector<float> logits(kWindow * vocab);
    double sum = 0;
    for (size_t first = 0; first < ids_.size(); first += kWindow) {
      EXPECT_TRUE((*model)->Open(1, kWindow));
      const auto ids = std::span(ids_).subspan(first, kWindow);
      EXPECT_TRUE((*model)->Append(1, 0, ids, kWindow, logits));
      (*model)->Close(1);
      for (size_t at = 0; at + 1 < kWindow; ++at) {
        const auto row = std::span(logits).subspan(at * vocab, vocab);
        const auto top = std::ranges::max_element(row);
        outcome.best.push_back(static_cast<size_t>(top - row.begin()));
        double total = 0;
        for (const float logit : row) total += std::exp(double{logit} - *top);
        sum += std::log(total) + *top - row[static_cast<size_t>(ids[at + 1])];
      }
    }
    outcome.perplexity = std::exp(sum / static_cast<double>(outcome.best.size()));
    return outcome;
  }

  std::shared_ptr<const store::ModelFile> file_;
  std::vector<TokenId> ids_;
};

TEST_P(WireQualityTest, FewNextTokensChange) {
  const Outcome exact = Measure(RowCodec::kF32);
  struct Limit {
    RowCodec codec;
    double changed;     // of all next tokens
    double perplexity;  // relative
  };
  for (const Limit& limit :
       {Limit{RowCodec::kF16, 0.02, 0.001}, Limit{RowCodec::kInt8, 0.03, 0.005},
        Limit{RowCodec::kInt4, 0.25, 0.10}}) {
    const Outcome lossy = Measure(limit.codec);
    size_t changed = 0;
    for (size_t i = 0; i < exact.best.size(); ++i) changed += exact.best[i] != lossy.best[i];
    const double part = static_cast<double>(changed) / static_cast<double>(exact.best.size());
    const double worse = lossy.perplexity / exact.perplexity - 1;
    std::printf(
        "  %s, %s: %.2f %% of %zu next tokens changed, perplexity %.4f to %.4f (%+.3f %%)\n",
        GetParam().name, std::string(wire::kCodecNames[static_cast<size_t>(limit.codec)]).c_str(),
        100 * part, exact.best.size(), exact.perplexity, lossy.perplexity, 100 * worse);
    EXPECT_LT(part, limit.changed);
    EXPECT_LT(std::abs(worse), limit.perplexity);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, WireQualityTest,
    ::testing::Values(Case{"exo_tiny", EXO_SOURCE_DIR "/models/exo-tiny.gguf"},
                      Case{"stories260K",
                           SharedPath("data/models/stories260K/gguf/stories260K-f16.gguf")}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace exo
