// The CPU stage as StageCompute promises it: sequences, batches, forks, cancellation.
#include "backend/cpu/stage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <thread>

#include "backend/cpu/cpu.h"
#include "backend/test_model.h"
#include "sys/memory.h"

namespace exo::backend {
namespace {

using tensor::DType;

std::vector<TokenId> Prompt(size_t n) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * i + 3 * i) % 300));
  return tokens;
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class StageTest : public testing::Test {
 protected:
  static constexpr uint32_t kChunk = 64;

  StageTest() : model_(DType::kQ4_0, DType::kQ8_0, Kind::kLlama) {
    auto stage = backend_->Load(SpecOf(0, 5, true), model_.source, {}, nullptr);
    EXPECT_TRUE(stage.has_value());
    stage_ = std::move(*stage);
  }

  StageSpec SpecOf(uint32_t begin, uint32_t end, bool lead) const {
    return {.config = model_.config,
            .tensors = model_.tensors,
            .layer_begin = begin,
            .layer_end = end,
            .lead = lead,
            .chunk = kChunk};
  }
  // Runs tokens at [first, …) of a sequence; the values that `wanted` asks for, of the last
  // `outputs` rows where it asks for outputs.
  Result<std::vector<float>> Run(SequenceId id, uint32_t first, std::span<const TokenId> tokens,
                                 size_t outputs, Wanted wanted = Wanted::kLogits,
                                 const std::atomic<bool>* cancel = nullptr) {
    const Segment segment = {
        .sequence = id, .first = first, .count = static_cast<uint32_t>(tokens.size())};
    std::vector<uint32_t> rows(outputs);
    std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(tokens.size() - outputs));
    auto running = TRY(stage_->Run({.segments = std::span(&segment, 1),
                                    .tokens = tokens,
                                    .output_rows = rows,
                                    .wanted = wanted,
                                    .cancel = cancel}));
    const std::span<const float> hidden = TRY(running->Wait());
    std::vector<float> values(hidden.begin(), hidden.end());
    if (wanted != Wanted::kLogits) return values;
    for (size_t at = 0; at < outputs; at += kLogitRows) {
      const auto logits = TRY(running->Logits(at, std::min(kLogitRows, outputs - at), kAllLogits));
      values.insert(values.end(), logits.begin(), logits.end());
    }
    return values;
  }

  // The tokens from `first` on, chunk by chunk; logits of the last one.
  Result<std::vector<float>> Fill(SequenceId id, std::span<const TokenId> tokens,
                                  uint32_t first = 0) {
    std::vector<float> logits;
    for (auto at = first; at < tokens.size(); at += kChunk)
      logits =
          TRY(Run(id, at, tokens.subspan(at, std::min<size_t>(kChunk, tokens.size() - at)), 1));
    return logits;
  }

  TestModel model_;
  std::unique_ptr<sys::ThreadPool> pool_ = MakeComputePool(2);
  std::unique_ptr<Backend> backend_ = MakeCpuBackend(**kernels::ChooseKernels(""), *pool_);
  std::unique_ptr<StageCompute> stage_;
};

TEST_F(StageTest, SequencesAreOpenOnceUntilTheyAreClosed) {
  EXPECT_TRUE(stage_->Open(1, 8));
  EXPECT_EQ(stage_->Open(1, 8).error().code, ErrorCode::kInvalid);
  stage_->Close(1);
  stage_->Close(1);  // nothing there any more
  EXPECT_EQ(stage_->Truncate(1, 0).error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(stage_->Open(1, 8));
}

TEST_F(StageTest, PositionsMustContinueTheSequenceAndFit) {
  ASSERT_TRUE(stage_->Open(1, 16));
  const auto tokens = Prompt(17);
  const auto first = std::span(tokens).first(3);
  EXPECT_EQ(Run(2, 0, first, 1).error().code, ErrorCode::kInvalid);       // not open
  EXPECT_EQ(Run(1, 1, first, 1).error().code, ErrorCode::kInvalid);       // a gap
  EXPECT_EQ(Run(1, 0, tokens, 1).error().code, ErrorCode::kInvalid);      // over capacity
  EXPECT_EQ(Run(1, 0, Prompt(65), 1).error().code, ErrorCode::kInvalid);  // over the chunk
  EXPECT_EQ(Run(1, 0, std::vector<TokenId>{300}, 1).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(Run(1, 0, std::vector<TokenId>{-1}, 1).error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(Run(1, 0, first, 1));
  EXPECT_EQ(stage_->Truncate(1, 4).error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(stage_->Truncate(1, 3));
}

TEST_F(StageTest, AnOutputRowOutsideTheBatchIsRefused) {
  ASSERT_TRUE(stage_->Open(1, 16));
  const TokenId token = 1;
  const Segment segment = {.sequence = 1, .first = 0, .count = 1};
  const std::array<uint32_t, 1> rows = {1};
  const auto running =
      stage_->Run({.segments = {&segment, 1}, .tokens = {&token, 1}, .output_rows = rows});
  ASSERT_FALSE(running);
  EXPECT_EQ(running.error().code, ErrorCode::kInvalid);
}

// A single stage gives logits without giving out hidden states; a lead of several stages gets the
// same from rows that come back.
TEST_F(StageTest, LogitsAreTheSameWithAndWithoutTheWayThroughTheHost) {
  const auto tokens = Prompt(40);  // more rows than are held at once
  for (const SequenceId id : {1, 2, 3}) ASSERT_TRUE(stage_->Open(id, 64));
  const auto direct = Run(1, 0, tokens, 40);
  const auto output = Run(2, 0, tokens, 40, Wanted::kOutput);
  const auto hidden = Run(3, 0, tokens, 0, Wanted::kHidden);
  ASSERT_TRUE(direct && output && hidden);
  ASSERT_EQ(direct->size(), 40u * TestModel::kVocab);
  EXPECT_TRUE(SameBits(*output, *hidden));
  std::vector<uint32_t> all(40);
  std::iota(all.begin(), all.end(), 0u);
  const auto running =
      stage_->Run({.hidden = *output, .output_rows = all, .wanted = Wanted::kLogits});
  ASSERT_TRUE(running && (*running)->Wait());
  for (const size_t row : {0u, 17u, 39u}) {
    const auto logits = (*running)->Logits(row, 1, kAllLogits);
    ASSERT_TRUE(logits);
    EXPECT_TRUE(
        SameBits(*logits, std::span(*direct).subspan(row * TestModel::kVocab, TestModel::kVocab)))
        << row;
  }
}

TEST_F(StageTest, AForkGoesOnWithTheBitsOfItsOrigin) {
  // Two pages, the second one not full: forks share them and write to copies.
  const auto tokens = Prompt(300);
  ASSERT_TRUE(stage_->Open(1, 320));
  ASSERT_TRUE(Fill(1, tokens));
  ASSERT_TRUE(stage_->Open(3, 320));
  const auto expected = Fill(3, tokens);
  for (const uint32_t length : {255u, 256u, 257u, 272u, 299u}) {
    ASSERT_TRUE(stage_->Fork(1, length, 2, 320));
    const auto forked = Fill(2, tokens, length);
    const auto other = Run(2, length, Prompt(7), 1);  // writes to the fork only
    ASSERT_TRUE(forked && other && expected);
    EXPECT_TRUE(SameBits(*forked, *expected)) << length;
    EXPECT_FALSE(SameBits(*other, *expected)) << length;
    stage_->Close(2);
  }
  const auto again = Run(1, 299, std::span(tokens).subspan(299), 1);
  ASSERT_TRUE(again && expected);
  EXPECT_TRUE(SameBits(*again, *expected));  // the origin is as it was
}

TEST_F(StageTest, AForkOfWhatIsNotThereIsRefused) {
  ASSERT_TRUE(stage_->Open(1, 16));
  ASSERT_TRUE(Run(1, 0, Prompt(5), 0));
  EXPECT_EQ(stage_->Fork(9, 0, 2, 16).error().code, ErrorCode::kInvalid);  // unknown
  EXPECT_EQ(stage_->Fork(1, 6, 2, 16).error().code, ErrorCode::kInvalid);  // shorter
  EXPECT_EQ(stage_->Fork(1, 5, 2, 4).error().code, ErrorCode::kInvalid);   // no room
  EXPECT_EQ(stage_->Fork(1, 5, 1, 16).error().code, ErrorCode::kInvalid);  // open already
  EXPECT_EQ(Run(2, 0, Prompt(1), 0).error().code, ErrorCode::kInvalid);    // nothing was opened
}

TEST_F(StageTest, WhatACancelledStepLeftIsNeverForked) {
  const auto tokens = Prompt(20);
  ASSERT_TRUE(stage_->Open(1, 64));
  ASSERT_TRUE(Run(1, 0, std::span(tokens).first(12), 0));
  const std::atomic<bool> cancel{true};
  EXPECT_EQ(Run(1, 12, std::span(tokens).subspan(12), 1, Wanted::kLogits, &cancel).error().code,
            ErrorCode::kCancelled);
  ASSERT_TRUE(Run(1, 20, Prompt(3), 0));  // goes on, on undefined ground
  EXPECT_EQ(stage_->Fork(1, 13, 2, 64).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(stage_->Fork(1, 23, 2, 64).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(stage_->Fork(1, 12, 2, 64));
  // Cut back to what is defined, it is a sequence like any other.
  ASSERT_TRUE(stage_->Truncate(1, 12));
  const auto again = Run(1, 12, std::span(tokens).subspan(12), 1);
  const auto forked = Run(2, 12, std::span(tokens).subspan(12), 1);
  ASSERT_TRUE(stage_->Open(3, 64));
  const auto expected = Run(3, 0, tokens, 1);
  ASSERT_TRUE(again && forked && expected);
  EXPECT_TRUE(SameBits(*again, *expected));
  EXPECT_TRUE(SameBits(*forked, *expected));
  EXPECT_TRUE(stage_->Fork(1, 20, 4, 64));
}

// 600 positions are two pages and 88 positions of a third one.
TEST_F(StageTest, APageThatWasSavedGivesTheBitsOfAComputedOne) {
  const auto tokens = Prompt(601);
  const auto history = std::span(tokens).first(600), last = std::span(tokens).last(1);
  for (const kernels::KvType type :
       {kernels::KvType::kF16, kernels::KvType::kF32, kernels::KvType::kQ8_0}) {
    StageSpec spec = SpecOf(0, 5, true);
    spec.kv_type = type;
    stage_ = *backend_->Load(spec, model_.source, {}, nullptr);
    ASSERT_TRUE(stage_->Open(1, 1024));
    ASSERT_TRUE(Fill(1, history));
    std::vector<std::vector<std::byte>> pages;
    for (const auto& [first, count] :
         {std::pair(0u, 256u), std::pair(256u, 256u), std::pair(512u, 88u)}) {
      pages.emplace_back(*stage_->SavedBytes(count, PageForm::kWhole));
      ASSERT_TRUE(stage_->SavePage(1, first, count, PageForm::kWhole, pages.back()));
    }
    const auto expected = Run(1, 600, last, 1);
    ASSERT_TRUE(expected.has_value());
    ASSERT_TRUE(stage_->Open(2, 1024));
    ASSERT_TRUE(stage_->LoadPage(2, 0, 256, 256, PageForm::kWhole, pages[0]));
    ASSERT_TRUE(stage_->LoadPage(2, 256, 256, 256, PageForm::kWhole, pages[1]));
    ASSERT_TRUE(stage_->LoadPage(2, 512, 88, 88, PageForm::kWhole, pages[2]));
    const auto restored = Run(2, 600, last, 1);
    ASSERT_TRUE(restored.has_value());
    EXPECT_TRUE(SameBits(*restored, *expected));
    // Less than all that was saved, and on from there; the page is not shared with anybody.
    ASSERT_TRUE(stage_->Open(3, 1024));
    ASSERT_TRUE(stage_->LoadPage(3, 0, 201, 256, PageForm::kWhole, pages[0]));
    const auto part = Fill(3, tokens, 201);
    ASSERT_TRUE(part.has_value());
    EXPECT_TRUE(SameBits(*part, *expected));
  }
}

TEST_F(StageTest, ASavedPageHasItsLayersOneAfterTheOther) {
  ASSERT_TRUE(stage_->Open(1, 64));
  ASSERT_TRUE(Fill(1, Prompt(40)));
  std::vector<std::byte> page(*stage_->SavedBytes(40, PageForm::kWhole));
  ASSERT_TRUE(stage_->SavePage(1, 0, 40, PageForm::kWhole, page));
  // A stage of the last three layers takes their part of it.
  const auto stage = backend_->Load(SpecOf(2, 5, false), model_.source, {}, nullptr);
  ASSERT_TRUE(stage.has_value());
  const size_t layer = page.size() / 5;
  ASSERT_EQ((*stage)->SavedBytes(40, PageForm::kWhole), 3 * layer);
  ASSERT_TRUE((*stage)->Open(1, 64));
  ASSERT_TRUE(
      (*stage)->LoadPage(1, 0, 40, 40, PageForm::kWhole, std::span(page).subspan(2 * layer)));
  std::vector<std::byte> again(3 * layer);
  ASSERT_TRUE((*stage)->SavePage(1, 0, 40, PageForm::kWhole, again));
  EXPECT_TRUE(std::ranges::equal(again, std::span(page).subspan(2 * layer)));
}

TEST_F(StageTest, PagesThatDoNotFitAreRefusedAndNothingChanges) {
  ASSERT_TRUE(stage_->Open(1, 300));
  ASSERT_TRUE(Fill(1, Prompt(300)));
  std::vector<std::byte> page(*stage_->SavedBytes(256, PageForm::kWhole)), small(page.size() - 1);
  const auto save = [&](SequenceId id, uint32_t first, uint32_t count, std::span<std::byte> out) {
    const auto saved = stage_->SavePage(id, first, count, PageForm::kWhole, out);
    return saved ? std::nullopt : std::optional(saved.error().code);
  };
  EXPECT_EQ(save(9, 0, 256, page), ErrorCode::kInvalid);
  EXPECT_EQ(save(1, 0, 256, small), ErrorCode::kInvalid);
  EXPECT_EQ(save(1, 256, 256, page), ErrorCode::kInvalid) << "44 of them are computed";
  EXPECT_EQ(save(1, 16, 256, page), ErrorCode::kInvalid);
  EXPECT_EQ(save(1, 0, 256, page), std::nullopt);
  ASSERT_TRUE(stage_->Open(2, 300));
  const auto load = [&](uint32_t first, uint32_t count, uint32_t positions,
                        std::span<const std::byte> bytes) {
    const auto loaded = stage_->LoadPage(2, first, count, positions, PageForm::kWhole, bytes);
    return loaded ? std::nullopt : std::optional(loaded.error().code);
  };
  EXPECT_EQ(load(256, 256, 256, page), ErrorCode::kInvalid) << "the first page is missing";
  EXPECT_EQ(load(0, 256, 256, small), ErrorCode::kInvalid);
  EXPECT_EQ(load(0, 0, 256, page), ErrorCode::kInvalid);
  EXPECT_EQ(load(0, 257, 257, page), ErrorCode::kInvalid);
  EXPECT_EQ(load(0, 200, 100, page), ErrorCode::kInvalid);
  EXPECT_EQ(load(0, 256, 256, page), std::nullopt);
  EXPECT_EQ(load(256, 256, 256, page), ErrorCode::kInvalid) << "beyond its capacity";
  EXPECT_EQ(load(256, 44, 256, page), std::nullopt);
  EXPECT_EQ(load(256, 44, 256, page), ErrorCode::kInvalid) << "no multiple of a page";
}

// Where the window has moved on, pages are saved without the layers that have one.
TEST_F(StageTest, ASequenceOfLayersWithAWindowGoesOnWhereTheWindowIsRestored) {
  TestModel gemma(DType::kQ4_0, DType::kQ8_0, Kind::kGemma);
  gemma.config->window = 200;
  StageSpec spec = SpecOf(0, 5, true);
  spec.config = gemma.config;
  spec.tensors = gemma.tensors;
  stage_ = *backend_->Load(spec, gemma.source, {}, nullptr);
  const auto tokens = Prompt(801);
  ASSERT_TRUE(stage_->Open(1, 1024));
  ASSERT_TRUE(Fill(1, std::span(tokens).first(799)));
  ASSERT_TRUE(Run(1, 799, std::span(tokens).subspan(799, 1), 1));  // attends from 600 on
  const size_t layer = *stage_->SavedBytes(256, PageForm::kBare);
  EXPECT_EQ(stage_->SavedBytes(256, PageForm::kWhole), 5 * layer) << "one of five attends to all";
  std::vector<std::byte> bare[2], whole(5 * layer), last(*stage_->SavedBytes(32, PageForm::kWhole));
  EXPECT_EQ(stage_->SavePage(1, 256, 256, PageForm::kWhole, whole).error().code,
            ErrorCode::kInvalid);
  for (uint32_t i = 0; i < 2; ++i) {
    bare[i].resize(layer);
    ASSERT_TRUE(stage_->SavePage(1, 256 * i, 256, PageForm::kBare, bare[i]));
  }
  ASSERT_TRUE(stage_->SavePage(1, 512, 256, PageForm::kWhole, whole));
  ASSERT_TRUE(stage_->SavePage(1, 768, 32, PageForm::kWhole, last));
  const auto expected = Run(1, 800, std::span(tokens).last(1), 1);
  ASSERT_TRUE(expected.has_value());
  ASSERT_TRUE(stage_->Open(2, 1024));
  EXPECT_FALSE(stage_->LoadPage(2, 0, 255, 256, PageForm::kBare, bare[0])) << "only to its end";
  EXPECT_FALSE(stage_->LoadPage(2, 0, 256, 256, PageForm::kWhole, bare[0]));
  ASSERT_TRUE(stage_->LoadPage(2, 0, 256, 256, PageForm::kBare, bare[0]));
  ASSERT_TRUE(stage_->LoadPage(2, 256, 256, 256, PageForm::kBare, bare[1]));
  EXPECT_FALSE(Run(2, 512, std::span(tokens).subspan(512, 1), 1)) << "its window is not there";
  ASSERT_TRUE(stage_->LoadPage(2, 512, 256, 256, PageForm::kWhole, whole));
  ASSERT_TRUE(stage_->LoadPage(2, 768, 32, 32, PageForm::kWhole, last));
  const auto restored = Run(2, 800, std::span(tokens).last(1), 1);
  ASSERT_TRUE(restored.has_value());
  EXPECT_TRUE(SameBits(*restored, *expected));
}

// Bytes of address space that this process has.
uint64_t MappedBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  return pages * sys::PageSize();
}

TEST_F(StageTest, TakesTheMemoryThatItsEstimateSays) {
  StageSpec spec = SpecOf(0, 5, true);
  spec.chunk = 4096;
  constexpr uint32_t kPositions = 8 * 256, kHalf = kPositions / 2;
  const std::vector<TokenId> tokens = Prompt(kHalf);
  const auto fill = [&](StageCompute& filled, uint32_t first) {
    const Segment segment = {.sequence = 1, .first = first, .count = kHalf};
    const auto running = filled.Run({.segments = {&segment, 1}, .tokens = tokens});
    return running && (*running)->Wait();
  };
  const StageBytes bytes = backend_->Estimate(spec);
  const uint64_t kv = bytes.kv_per_position * kPositions;
  const auto grown = [&](uint64_t before) { return static_cast<double>(MappedBytes() - before); };
  for (int round = 0; round < 2; ++round) {  // stacks of threads stay mapped after the first
    const uint64_t before = MappedBytes();
    const auto stage = backend_->Load(spec, model_.source, {}, nullptr);
    ASSERT_TRUE(stage.has_value());
    const double loaded = static_cast<double>(bytes.weights + bytes.scratch);
    if (round == 1) {
      EXPECT_NEAR(grown(before), loaded, loaded / 20);
    }
    ASSERT_TRUE((*stage)->Open(1, kPositions));
    ASSERT_TRUE(fill(**stage, 0));  // brings each thread's attention scratch too
    const uint64_t half = MappedBytes();
    ASSERT_TRUE(fill(**stage, kHalf));
    EXPECT_EQ(MappedBytes() - half, kv / 2);  // a sequence takes what it needs
    (*stage)->Close(1);
    EXPECT_EQ(half - MappedBytes(), kv / 2);  // all is given back at once
  }
}

// Windows of 12 in four layers of five: the bits are those of a cache that keeps all, and the pages
// that nobody attends to are given back.
TEST_F(StageTest, LayersWithAWindowKeepOnlyWhatTheyAttendTo) {
  constexpr uint32_t kPositions = 6 * 256;
  TestModel gemma(DType::kQ4_0, DType::kQ8_0, Kind::kGemma);
  const auto load = [&](uint32_t chunk) {
    StageSpec spec = SpecOf(0, 5, true);
    spec.config = gemma.config;
    spec.tensors = gemma.tensors;
    spec.chunk = chunk;
    auto stage = backend_->Load(spec, gemma.source, {}, nullptr);
    EXPECT_TRUE(stage.has_value());
    EXPECT_TRUE((*stage)->Open(1, 2 * kPositions));
    return std::move(*stage);
  };
  const auto tokens = Prompt(kPositions);
  // In one step nothing is let go of: everything is attended to.
  stage_ = load(kPositions);
  const auto all = Run(1, 0, tokens, 1);
  ASSERT_TRUE(all.has_value()) << all.error().message;
  stage_ = load(kChunk);
  std::vector<float> last;
  uint64_t before = 0;
  for (uint32_t at = 0; at < kPositions; at += kChunk) {
    if (at == kChunk) before = MappedBytes();  // with attention scratch and a first page
    auto logits = Run(1, at, std::span(tokens).subspan(at, kChunk), 1);
    ASSERT_TRUE(logits.has_value());
    last = *std::move(logits);
  }
  EXPECT_TRUE(SameBits(*all, last));
  const StageBytes bytes = backend_->Estimate(
      {.config = gemma.config, .tensors = gemma.tensors, .layer_end = 5, .chunk = kChunk});
  EXPECT_EQ(bytes.windowed_kv_per_position, 4 * bytes.kv_per_position);
  EXPECT_LE(MappedBytes() - before,
            bytes.kv_per_position * kPositions + bytes.windowed_kv_per_position * 256);
  EXPECT_EQ(stage_->Fork(1, 1000, 2, kPositions).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(stage_->Truncate(1, 1000).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(Run(1, 1000, std::span(tokens).first(1), 1).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(stage_->Fork(1, kPositions, 2, 2 * kPositions));
  const auto next = Prompt(3);
  const auto of_fork = Run(2, kPositions, next, 1), of_origin = Run(1, kPositions, next, 1);
  ASSERT_TRUE(of_fork && of_origin);
  EXPECT_TRUE(SameBits(*of_fork, *of_origin));
  ASSERT_TRUE(stage_->Truncate(1, 0)) << "begins anew";
  EXPECT_TRUE(Run(1, 0, next, 1).has_value());
}

// Work of another model comes between the items of a load, not behind it.
TEST_F(StageTest, ABatchRunsWhileAnotherModelLoads) {
  ASSERT_TRUE(stage_->Open(1, 64));
  const auto tokens = Prompt(9);
  const auto expected = Run(1, 0, tokens, 1);
  ASSERT_TRUE(expected.has_value());
  // A source that keeps the load from ending until a batch has run beside it.
  class Slow final : public TensorSource {
   public:
    explicit Slow(TensorSource& source) : source_(source) {}
    Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                            uint64_t bytes) override {
      if (!tensor.vector && ++reads > 3) answered.wait(false);
      return source_.Read(tensor, offset, bytes);
    }
    void Done(const model::TensorRef&, uint64_t, uint64_t) override {}
    std::atomic<int> reads{0};
    std::atomic<bool> answered{false};

   private:
    TensorSource& source_;
  } slow(model_.source);
  std::thread loader(
      [&] { EXPECT_TRUE(backend_->Load(SpecOf(0, 5, true), slow, {}, nullptr).has_value()); });
  while (slow.reads.load() < 4) std::this_thread::yield();
  const auto beside = Run(1, 0, tokens, 1);
  slow.answered.store(true);
  slow.answered.notify_all();
  loader.join();
  ASSERT_TRUE(beside.has_value());
  EXPECT_TRUE(SameBits(*beside, *expected));
}

TEST_F(StageTest, ASourceThatFailsEndsTheLoad) {
  class Failing final : public TensorSource {
   public:
    Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t,
                                            uint64_t) override {
      return Fail(ErrorCode::kIo, "{} cannot be read", tensor.name);
    }
    void Done(const model::TensorRef&, uint64_t, uint64_t) override {}
  } failing;
  const auto stage = backend_->Load(SpecOf(0, 5, true), failing, {}, nullptr);
  ASSERT_FALSE(stage.has_value());
  EXPECT_EQ(stage.error().code, ErrorCode::kIo);
}

TEST_F(StageTest, CancellingALoadEndsIt) {
  const std::atomic<bool> cancel{true};
  const auto stage = backend_->Load(SpecOf(0, 5, true), model_.source, {}, &cancel);
  ASSERT_FALSE(stage);
  EXPECT_EQ(stage.error().code, ErrorCode::kCancelled);
}

// A source of which reads can be counted and made to fail.
class CountedSource final : public TensorSource {
 public:
  explicit CountedSource(TensorSource& source) : source_(source) {}
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t offset,
                                          uint64_t bytes) override {
    if (broken.load()) return Fail(ErrorCode::kIo, "cannot read {}", tensor.name);
    return source_.Read(tensor, offset, bytes);
  }
  void Done(const model::TensorRef& tensor, uint64_t, uint64_t) override {
    if (!tensor.vector && tensor.name.starts_with("blk.")) ++done;
  }

  std::atomic<bool> broken{false};
  std::atomic<int> done{0};  // matrices of layers, each of which is small enough to be read at once

 private:
  TensorSource& source_;
};

class StreamedStageTest : public StageTest {
 protected:
  // A stage of all of the model's layers that reads these of them.
  Result<std::unique_ptr<StageCompute>> Stream(TestModel& model, std::vector<uint32_t> layers,
                                               uint32_t windows = 2) {
    source_ = std::make_shared<CountedSource>(model.source);
    StageSpec spec = SpecOf(0, 5, true);
    spec.config = model.config;
    spec.tensors = model.tensors;
    spec.streamed = {.layers = std::move(layers), .windows = windows, .source = source_};
    spec_ = spec;
    return backend_->Load(spec, *source_, {}, nullptr);
  }
  // Logits of a prompt of two chunks and of some tokens behind it, in turns with another
  // sequence.
  std::vector<float> Answer() {
    std::vector<float> all;
    const auto tokens = Prompt(70);
    for (const SequenceId id : {1, 2}) {
      EXPECT_TRUE(stage_->Open(id, 256));
      const auto logits = Fill(id, tokens);
      EXPECT_TRUE(logits.has_value());
      if (logits) all.insert(all.end(), logits->begin(), logits->end());
    }
    for (uint32_t at = 70; at < 74; ++at) {
      for (const SequenceId id : {1, 2}) {
        const TokenId token = static_cast<TokenId>(at * id % 300);
        const auto logits = Run(id, at, std::span(&token, 1), 1);
        EXPECT_TRUE(logits.has_value());
        if (logits) all.insert(all.end(), logits->begin(), logits->end());
      }
    }
    for (const SequenceId id : {1, 2}) stage_->Close(id);
    return all;
  }
  void Resident(TestModel& model) {
    StageSpec spec = SpecOf(0, 5, true);
    spec.config = model.config;
    spec.tensors = model.tensors;
    stage_ = *backend_->Load(spec, model.source, {}, nullptr);
  }

  std::shared_ptr<CountedSource> source_;
  StageSpec spec_;
};

TEST_F(StreamedStageTest, GivesTheBitsOfOneThatHoldsAllLayers) {
  struct Case {
    DType matrices, output;
    Kind kind;
  };
  for (const Case& one :
       {Case{DType::kQ4_0, DType::kQ8_0, Kind::kLlama},
        Case{DType::kQ4_K, DType::kQ6_K, Kind::kQwen}, Case{DType::kF16, DType::kF32, Kind::kLlama},
        Case{DType::kIQ4_XS, DType::kBF16, Kind::kGemma},
        Case{DType::kQ8_0, DType::kQ5_1, Kind::kExperts},
        Case{DType::kQ4_1, DType::kMXFP4, Kind::kSharedExpert}}) {
    TestModel model(one.matrices, one.output, one.kind);
    Resident(model);
    const auto expected = Answer();
    ASSERT_FALSE(expected.empty());
    for (const auto& [layers, windows] : {std::pair(std::vector<uint32_t>{1, 3}, 3u),
                                          std::pair(std::vector<uint32_t>{0, 1, 2, 3, 4}, 2u)}) {
      auto stage = Stream(model, layers, windows);
      ASSERT_TRUE(stage.has_value()) << stage.error().message;
      stage_ = std::move(*stage);
      EXPECT_TRUE(SameBits(Answer(), expected))
          << static_cast<int>(one.kind) << ", " << layers.size() << " layers, " << windows;
    }
    stage_.reset();  // it reads on
  }
}

TEST_F(StreamedStageTest, TakesTheMemoryOfItsWindowsAndNoMore) {
  const auto weights = [&](std::vector<uint32_t> layers) {
    StageSpec spec = SpecOf(0, 5, true);
    spec.streamed.layers = std::move(layers);
    return backend_->Estimate(spec).weights;
  };
  const uint64_t all = weights({});
  const StageSpec empty = SpecOf(0, 0, true), one = SpecOf(0, 1, true);
  const uint64_t layer = backend_->Estimate(one).weights - backend_->Estimate(empty).weights;
  // The norms of a layer stay, and a window begins at a multiple of 64 bytes.
  EXPECT_NEAR(static_cast<double>(all - weights({0, 1, 2, 3, 4})), 3.0 * static_cast<double>(layer),
              0.02 * static_cast<double>(layer));
  auto stage = Stream(model_, {0, 1, 2, 3, 4});
  ASSERT_TRUE(stage.has_value());
  EXPECT_EQ((*stage)->weights_bytes(), weights({0, 1, 2, 3, 4}));
}

TEST_F(StreamedStageTest, ReadsTheNextStepsLayersWhileNobodyAsks) {
  auto stage = Stream(model_, {0, 1, 2, 3, 4}, 3);
  ASSERT_TRUE(stage.has_value());
  stage_ = std::move(*stage);
  constexpr int kMatrices = 7;  // of a layer
  const auto wait_for = [&](int matrices) {
    while (source_->done.load() < matrices) std::this_thread::yield();
  };
  wait_for(3 * kMatrices);
  ASSERT_TRUE(stage_->Open(1, 64));
  ASSERT_TRUE(Run(1, 0, Prompt(1), 1));
  // Five layers more, and again three at hand.
  wait_for(8 * kMatrices);
  ASSERT_TRUE(Run(1, 1, Prompt(1), 1));
  wait_for(13 * kMatrices);
  EXPECT_EQ(source_->done.load(), 13 * kMatrices);
}

// Two windows hold the experts of two of the five layers: those that are asked for again stay.
TEST_F(StreamedStageTest, ExpertsThatAreUsedStayAndOthersAreRead) {
  TestModel model(DType::kQ4_0, DType::kQ8_0, Kind::kExperts);
  auto stage = Stream(model, {0, 1, 2, 3, 4});
  ASSERT_TRUE(stage.has_value());
  stage_ = std::move(*stage);
  ASSERT_TRUE(stage_->Open(1, 256));
  const int loaded = source_->done.load();
  ASSERT_TRUE(Run(1, 0, Prompt(1), 1));
  const int first = source_->done.load() - loaded;
  EXPECT_EQ(first, 5 * 2 * 3) << "two experts of three matrices in each layer";
  // The same token at the same position: nothing new is needed, twelve slots hold its ten.
  ASSERT_TRUE(stage_->Truncate(1, 0));
  ASSERT_TRUE(Run(1, 0, Prompt(1), 1));
  EXPECT_EQ(source_->done.load() - loaded, first);
  // A prompt wants all six of each layer.
  ASSERT_TRUE(Run(1, 1, Prompt(60), 1));
  EXPECT_GT(source_->done.load() - loaded, 2 * first);
  stage_.reset();  // before its model
}

TEST_F(StreamedStageTest, ExpertsThatCannotBeReadAreTriedAgain) {
  TestModel model(DType::kQ4_0, DType::kQ8_0, Kind::kSharedExpert);
  Resident(model);
  const auto expected = Answer();
  auto stage = Stream(model, {0, 1, 2, 3, 4});
  ASSERT_TRUE(stage.has_value());
  stage_ = std::move(*stage);
  ASSERT_TRUE(stage_->Open(9, 64));
  source_->broken.store(true);
  EXPECT_EQ(Run(9, 0, Prompt(3), 1).error().code, ErrorCode::kIo);
  source_->broken.store(false);
  EXPECT_TRUE(SameBits(Answer(), expected));
  stage_.reset();  // before its model
}

TEST_F(StreamedStageTest, BeginsAnewAfterAStepThatWasCancelled) {
  Resident(model_);
  const auto expected = Answer();
  auto stage = Stream(model_, {0, 2, 3});
  ASSERT_TRUE(stage.has_value());
  stage_ = std::move(*stage);
  const std::atomic<bool> cancel{true};
  ASSERT_TRUE(stage_->Open(9, 64));
  EXPECT_EQ(Run(9, 0, Prompt(3), 1, Wanted::kLogits, &cancel).error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(SameBits(Answer(), expected));
}

TEST_F(StreamedStageTest, AnErrorOfTheDiskEndsTheStepAndNotTheStage) {
  Resident(model_);
  const auto expected = Answer();
  auto stage = Stream(model_, {0, 1, 2, 3, 4});
  ASSERT_TRUE(stage.has_value());
  stage_ = std::move(*stage);
  source_->broken.store(true);
  ASSERT_TRUE(stage_->Open(9, 64));
  for (int i = 0; i < 2; ++i) {
    const auto failed = Run(9, 0, Prompt(3), 1);
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().code, ErrorCode::kIo);
  }
  source_->broken.store(false);
  EXPECT_TRUE(SameBits(Answer(), expected));
}

TEST(KvTypeTest, HeadsWithoutWholeBlocksKeepF16) {
  EXPECT_EQ(kernels::KvTypeFor(kernels::KvType::kQ8_0, 80), kernels::KvType::kF16);
  EXPECT_EQ(kernels::KvTypeFor(kernels::KvType::kQ8_0, 96), kernels::KvType::kQ8_0);
  const auto bytes = [](kernels::KvType type, uint32_t head_dim) {
    const auto config = std::make_shared<model::ModelConfig>();
    config->kv_heads = 2;
    config->head_dim = head_dim;
    return KvBytesPerPosition({.config = config, .layer_begin = 1, .layer_end = 4, .kv_type = type},
                              false);
  };
  EXPECT_EQ(bytes(kernels::KvType::kQ8_0, 64), 3 * 2 * 2 * 68u);
  EXPECT_EQ(bytes(kernels::KvType::kQ8_0, 80), 3 * 2 * 2 * 160u);
  EXPECT_EQ(bytes(kernels::KvType::kF32, 80), 3 * 2 * 2 * 320u);
}

}  // namespace
}  // namespace exo::backend
