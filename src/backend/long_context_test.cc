// A context of 131,072 positions on two layers: the last rows have the same bits on every
// instruction set, in one step or row by row, and behind them there is no room.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "backend/devices.h"
#include "backend/test_model.h"
#include "kernels/kernels.h"

namespace exo::backend {
namespace {

constexpr uint32_t kContext = 131072;
constexpr uint32_t kPage = kernels::kKvPage;
constexpr uint32_t kLast = 2;   // rows at the end; the reference needs seconds for one
constexpr uint32_t kTexts = 4;  // pages that are computed; the others repeat them

std::vector<TokenId> Tokens(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
  return tokens;
}

class LongContextTest : public testing::TestWithParam<kernels::KvType> {
 protected:
  LongContextTest() : model_(DType::kQ4_0, DType::kQ8_0, Kind::kLlama) {
    model_.config->layers = 2;
    model_.config->context = kContext;
    model_.config->rope_base = 500000;
    model_.tensors->layers.resize(2);
  }

  // isa: empty: the best.
  void Load(std::string isa) {
    backend_ = MakeBackend({.isa = std::move(isa), .threads = 2}).value();
    stage_ = backend_
                 ->Load({.config = model_.config,
                         .tensors = model_.tensors,
                         .layer_begin = 0,
                         .layer_end = 2,
                         .lead = true,
                         .kv_type = GetParam(),
                         .chunk = kPage},
                        model_.source, {}, nullptr)
                 .value();
  }

  Result<std::vector<float>> Run(SequenceId id, uint32_t first, std::span<const TokenId> tokens) {
    const Segment segment = {id, first, static_cast<uint32_t>(tokens.size())};
    std::vector<uint32_t> rows(tokens.size());
    for (uint32_t i = 0; i < rows.size(); ++i) rows[i] = i;
    rows.resize(std::min<size_t>(rows.size(), kLogitRows));
    const auto running = TRY(stage_->Run({.segments = std::span(&segment, 1),
                                          .tokens = tokens,
                                          .output_rows = rows,
                                          .wanted = Wanted::kLogits}));
    TRY(running->Wait());
    const auto logits = TRY(running->Logits(0, rows.size(), kAllLogits));
    return std::vector<float>(logits.begin(), logits.end());
  }

  // Sequence 1 with all positions but the last ones.
  void Fill() {
    const std::vector<TokenId> text = Tokens(kTexts * kPage);
    ASSERT_TRUE(stage_->Open(1, kContext));
    std::vector<std::vector<std::byte>> pages(kTexts);
    for (uint32_t page = 0; page < kTexts; ++page) {
      ASSERT_TRUE(Run(1, page * kPage, std::span(text).subspan(page * kPage, kPage)));
      pages[page].resize(stage_->SavedBytes(kPage, PageForm::kWhole).value());
      ASSERT_TRUE(stage_->SavePage(1, page * kPage, kPage, PageForm::kWhole, pages[page]));
    }
    for (uint32_t page = kTexts; page + 1 < kContext / kPage; ++page)
      ASSERT_TRUE(
          stage_->LoadPage(1, page * kPage, kPage, kPage, PageForm::kWhole, pages[page % kTexts]));
    ASSERT_TRUE(
        stage_->LoadPage(1, kContext - kPage, kPage - kLast, kPage, PageForm::kWhole, pages[0]));
  }

  TestModel model_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<StageCompute> stage_;
};

TEST_P(LongContextTest, TheLastPositionsHaveTheSameBitsOnEveryInstructionSet) {
  const std::vector<TokenId> tokens = Tokens(kLast);
  std::vector<float> expected;
  for (const kernels::Isa isa : kernels::kIsas) {
    if (!kernels::KernelsFor(isa)) continue;
    SCOPED_TRACE(kernels::IsaName(isa));
    Load(std::string(kernels::IsaName(isa)));
    Fill();
    const auto together = Run(1, kContext - kLast, tokens);
    ASSERT_TRUE(together) << together.error().message;
    ASSERT_EQ(together->size(), kLast * TestModel::kVocab);
    if (expected.empty()) expected = *together;
    EXPECT_EQ(*together, expected);
    if (isa == kernels::Isa::kReference) continue;  // seconds for a row

    ASSERT_TRUE(stage_->Truncate(1, kContext - kLast));
    std::vector<float> alone;
    for (uint32_t i = 0; i < kLast; ++i) {
      const auto row = Run(1, kContext - kLast + i, std::span(tokens).subspan(i, 1));
      ASSERT_TRUE(row);
      alone.insert(alone.end(), row->begin(), row->end());
    }
    EXPECT_EQ(alone, expected);

    const auto over = Run(1, kContext, std::span(tokens).first(1));
    ASSERT_FALSE(over);
    EXPECT_EQ(over.error().code, ErrorCode::kInvalid);
  }
}

TEST_P(LongContextTest, TheFirstPageIsStillSeenAtTheEnd) {
  Load("");
  Fill();
  const std::vector<TokenId> token = {7};
  const auto here = Run(1, kContext - 1, token);
  EXPECT_FALSE(here) << "positions are missing before it";
  const auto seen = Run(1, kContext - kLast, token).value();
  std::vector<std::byte> page(stage_->SavedBytes(kPage, PageForm::kWhole).value());
  ASSERT_TRUE(stage_->SavePage(1, kPage, kPage, PageForm::kWhole, page));
  // The same but for its first page.
  ASSERT_TRUE(stage_->Open(2, kContext));
  ASSERT_TRUE(stage_->LoadPage(2, 0, kPage, kPage, PageForm::kWhole, page));
  std::vector<std::byte> rest(page.size());
  for (uint32_t first = kPage; first + kPage < kContext; first += kPage) {
    ASSERT_TRUE(stage_->SavePage(1, first, kPage, PageForm::kWhole, rest));
    ASSERT_TRUE(stage_->LoadPage(2, first, kPage, kPage, PageForm::kWhole, rest));
  }
  ASSERT_TRUE(stage_->SavePage(1, 0, kPage, PageForm::kWhole, rest));
  ASSERT_TRUE(stage_->LoadPage(2, kContext - kPage, kPage - kLast, kPage, PageForm::kWhole, rest));
  EXPECT_NE(Run(2, kContext - kLast, token).value(), seen);
}

INSTANTIATE_TEST_SUITE_P(KvTypes, LongContextTest,
                         testing::Values(kernels::KvType::kF16, kernels::KvType::kQ8_0),
                         [](const auto& param) {
                           return std::string(kernels::KvTypeName(param.param));
                         });

}  // namespace
}  // namespace exo::backend
