#include "backend/cpu/step_size.h"

#include <gtest/gtest.h>

#include <array>

#include "backend/cpu/stage.h"

namespace exo::backend {
namespace {

using tensor::DType;

// Two layers of one matrix each, and an output matrix; nothing of it is ever loaded.
StageSpec SpecOf(uint64_t rows, DType type = DType::kQ4_0) {
  model::ModelConfig config;
  config.width = 4096;
  config.layers = 2;
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  const auto matrix = [type](uint64_t count) {
    model::TensorRef tensor;
    tensor.type = type;
    tensor.rows = count;
    tensor.cols = 4096;
    return tensor;
  };
  model::ModelTensors tensors;
  for (int i = 0; i < 2; ++i) tensors.layers.emplace_back().attn_q = matrix(rows);
  tensors.output = matrix(rows);
  return {.config = std::make_shared<model::ModelConfig>(config),
          .tensors = std::make_shared<model::ModelTensors>(tensors),
          .layer_end = 2,
          .lead = true};
}

class StepSizeTest : public testing::Test {
 protected:
  static WorkDone Of(const StepSize& size, uint32_t first, uint32_t count) {
    const std::array segments = {Segment{.first = first, .count = count}};
    return size.OfLayers(segments, kCosts);
  }

  // A layer takes a row 1,000 bytes more, and Q8_0 twice as long as Q4_0.
  static inline const WorkCosts kCosts = {.layer_bytes = 1000, .formats = {{DType::kQ8_0, 2, 3}}};
  const kernels::Kernels& kernels_ = kernels::Reference();
};

TEST_F(StepSizeTest, OneRowReadsWeightsAndCache) {
  const StageSpec spec = SpecOf(64 * 1024);
  const StepSize size(kernels_, spec);
  const double weights =
      2.0 * static_cast<double>(kernels_.PackedBytes(DType::kQ4_0, 64 * 1024, 4096));
  const double kv = static_cast<double>(KvBytesPerPosition(spec, false));
  EXPECT_GT(kv, 0);
  EXPECT_EQ(Of(size, 0, 1).decode_bytes, weights + kv + 2000);
  EXPECT_EQ(Of(size, 999, 1).decode_bytes, weights + 1000 * kv + 2000);
  EXPECT_EQ(Of(size, 0, 1).prefill_ops, 0);
  EXPECT_EQ(size.OfOutput(1, kCosts).decode_bytes, weights / 2);
  EXPECT_EQ(size.OfOutput(2, kCosts).decode_bytes, 0);
}

TEST_F(StepSizeTest, OtherFormatsCountAsSoMuchOfQ4_0) {
  const StepSize size(kernels_, SpecOf(64 * 1024, DType::kQ8_0));
  const StageSpec spec = SpecOf(64 * 1024);
  const double weights =
      2.0 * static_cast<double>(kernels_.PackedBytes(DType::kQ8_0, 64 * 1024, 4096));
  const double kv = static_cast<double>(KvBytesPerPosition(spec, false));
  EXPECT_EQ(Of(size, 0, 1).decode_bytes, 2 * weights + kv + 2000);
  EXPECT_EQ(size.OfOutput(1, kCosts).decode_bytes, weights);
  EXPECT_EQ(Of(size, 0, 256).prefill_ops, 3 * Of(StepSize(kernels_, spec), 0, 256).prefill_ops);
}

TEST_F(StepSizeTest, ManyRowsOfAShortContextAreOperations) {
  const StepSize size(kernels_, SpecOf(64 * 1024));
  EXPECT_EQ(Of(size, 0, 256).prefill_ops, 2.0 * 2 * 64 * 1024 * 4096 * 256);
  EXPECT_EQ(Of(size, 0, 256).decode_bytes, 0);
  for (const auto& [first, count] : {std::pair{0u, 2u}, {0u, 63u}, {2000u, 64u}}) {
    EXPECT_EQ(Of(size, first, count).prefill_ops, 0) << first << " " << count;
    EXPECT_EQ(Of(size, first, count).decode_bytes, 0) << first << " " << count;
  }
}

TEST_F(StepSizeTest, WhatTheCachesHoldAndWhatWaitsForOthersTellsNothing) {
  const StepSize small(kernels_, SpecOf(1024));
  StageSpec part = SpecOf(64 * 1024);
  part.shard = Shard{};
  const StepSize shard(kernels_, part);
  for (const StepSize* size : {&small, &shard}) {
    EXPECT_EQ(Of(*size, 0, 1).decode_bytes, 0);
    EXPECT_EQ(Of(*size, 0, 256).prefill_ops, 0);
    EXPECT_EQ(size->OfOutput(1, kCosts).decode_bytes, 0);
  }
}

}  // namespace
}  // namespace exo::backend
