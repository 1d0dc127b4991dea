#include "node/disk_speed.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "sys/files.h"

namespace exo::node {
namespace {

TEST(DiskSpeedTest, IsMeasuredWhereTheFileLiesAndRemembered) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() /
                                       ("exo-disk-test-" + sys::RandomValue<NodeId>().Hex());
  std::filesystem::create_directories(folder / "models");
  auto state = store::State::Open(folder / "state.db").value();
  const std::string path = folder / "models" / "m.gguf";
  ASSERT_TRUE(sys::WriteFileAtomically(path, std::string(kLeastMeasuredBytes - 1, 'x'), 0600));
  EXPECT_EQ(MeasureDiskSpeed(path, *state).error().code, ErrorCode::kInvalid);
  EXPECT_FALSE(KnownDiskSpeed(path, *state));
  ASSERT_TRUE(sys::WriteFileAtomically(path, std::string(kLeastMeasuredBytes, 'x'), 0600));
  const auto measured = MeasureDiskSpeed(path, *state);
  ASSERT_TRUE(measured.has_value()) << measured.error().message;
  EXPECT_GT(*measured, 0);
  const auto known = KnownDiskSpeed(folder / "models" / "other.gguf", *state);
  ASSERT_TRUE(known.has_value());
  EXPECT_NEAR(*known, *measured, 1e-6 * *measured);
  EXPECT_FALSE(KnownDiskSpeed(folder / "m.gguf", *state)) << "another folder, perhaps another disk";
  std::filesystem::remove(path);
  EXPECT_FALSE(MeasureDiskSpeed(path, *state).has_value());
  state.reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace exo::node
