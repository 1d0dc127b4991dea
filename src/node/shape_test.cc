#include "node/shape.h"

#include <gtest/gtest.h>

#include "backend/devices.h"
#include "model/gguf_builder.h"
#include "sys/fake/disk.h"

namespace exo::node {
namespace {

cluster::ModelShape Shape(const std::string& architecture) {
  model::GgufBuilder file = model::TinyModel(architecture);
  const std::string bytes = model::TinyTensors(file, architecture).Build();
  const std::array<store::OpenedFile, 1> files = {std::make_shared<sys::MemoryFile>(bytes)};
  const auto manifest = store::Manifest::FromFiles(files);
  EXPECT_TRUE(manifest.has_value()) << manifest.error().message;
  const auto backend = backend::MakeBackend({.isa = "reference", .threads = 1}).value();
  return ShapeOf(**manifest, "tiny", *backend);
}

// Weights of the tiny model's attention, and of its matrices that have experts.
constexpr uint64_t kAttention = 32 * 32 + 2 * 16 * 32 + 32 * 32;
constexpr uint64_t kRouter = 4 * 32;
constexpr uint64_t kExpert = 3 * 8 * 32;

TEST(ShapeTest, ADenseLayerIsReadWhole) {
  const cluster::ModelShape shape = Shape("qwen3");
  EXPECT_EQ(shape.layer_decode_bytes, shape.layer_bytes);
  EXPECT_EQ(shape.ops_per_token_layer, 2 * (kAttention + 3 * 64 * 32));
}

TEST(ShapeTest, AMixtureReadsAndComputesOnlyTheChosenExperts) {
  const cluster::ModelShape shape = Shape("qwen3moe");
  EXPECT_EQ(shape.ops_per_token_layer, 2 * (kAttention + kRouter + 2 * kExpert));
  // F32, of 4 experts 2 are read; gate and up take whole panels of 16 rows.
  const uint64_t panels = 4 * (2 * 16 * 32 + 32 * 8);
  EXPECT_EQ(shape.layer_bytes[0] - shape.layer_decode_bytes[0], 2 * panels);
  EXPECT_GT(shape.layer_decode_bytes[0], 2 * panels);
}

}  // namespace
}  // namespace exo::node
