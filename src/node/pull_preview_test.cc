#include "node/pull_preview.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace exo::node {
namespace {

cluster::ModelShape Shape() {
  cluster::ModelShape shape{.name = "m", .width = 1024, .trained_context = 4096};
  shape.layer_bytes.assign(10, 100 * kMiB);
  shape.output_bytes = 50 * kMiB;
  shape.kv_bytes_per_position = {1024, 512, 2048};
  shape.ops_per_token_layer = 1000;
  return shape;
}

fetch::RemoteModel Remote() {
  fetch::RemoteModel model{.name = "m-Q8_0", .owner = "o", .files = {}};
  model.files.push_back({.name = "m-Q8_0.gguf", .target = {}, .bytes = kGiB});
  model.alternatives = {
      {"BF16", 2 * kGiB}, {"Q2_K", kGiB / 4}, {"Q4_K_M", kGiB / 2}, {"Q8_0", kGiB}};
  return model;
}

std::string FitIn(uint64_t memory, double decode_gbps, double disk_gbps = 0) {
  const NodeId self{{1}};
  return DescribeFit(Shape(), Remote(),
                     {{.id = self,
                       .name = "desk",
                       .memory_available = memory,
                       .memory_budget = memory,
                       .decode_gbps = decode_gbps,
                       .prefill_gops = 100,
                       .disk_gbps = disk_gbps}},
                     {.owner = self, .prefer = self});
}

TEST(PullPreviewTest, SaysHowFastWhatFitsWouldBe) {
  const std::string text = FitIn(8 * kGiB, 11);
  EXPECT_TRUE(text.starts_with("m-Q8_0: 1.0 GiB; runs here: about ")) << text;
  EXPECT_TRUE(text.ends_with(" tokens/s")) << text;
}

TEST(PullPreviewTest, NamesTheLargestQuantizationThatFits) {
  const std::string text = FitIn(700 * kMiB, 11);
  EXPECT_NE(text.find("does not run here now"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("Q4_K_M (512.0 MiB) would")) << text;
}

TEST(PullPreviewTest, SaysHowSlowWhatIsReadFromDiskWouldBe) {
  const std::string text = FitIn(700 * kMiB, 11, 1);
  EXPECT_TRUE(
      text.starts_with("m-Q8_0: 1.0 GiB; larger than the memory here, so that layers would "
                       "be read from disk for each token: about 1."))
      << text;
  EXPECT_TRUE(text.ends_with(" tokens/s; Q4_K_M (512.0 MiB) would fit")) << text;
}

TEST(PullPreviewTest, NamesNoneWhereNoneFits) {
  const std::string text = FitIn(50 * kMiB, 11);
  EXPECT_NE(text.find("does not run here now"), std::string::npos) << text;
  EXPECT_EQ(text.find("would"), std::string::npos) << text;
}

}  // namespace
}  // namespace exo::node
