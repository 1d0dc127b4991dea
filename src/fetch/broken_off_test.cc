// Downloads that nobody goes on with: which files are taken for one, and when they go.
#include "fetch/broken_off.h"

#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/part_file.h"
#include "sys/temporary_folder.h"

namespace exo::fetch {
namespace {

constexpr int64_t kDay = 24 * 3600, kNow = 1'800'000'000;

class BrokenOffTest : public testing::Test {
 protected:
  BrokenOffTest() : folder_(sys::TemporaryFolder::Create("exo-parts-").value()) {
    sources_.hub_folder = folder_->path() + "/hub";
    sources_.folder = folder_->path() + "/models";
    EXPECT_TRUE(sys::MakeFolders(hub_blobs_));
    EXPECT_TRUE(sys::MakeFolders(sources_.folder + "/blobs"));
  }
  void Put(const std::string& path, int64_t days_old) {
    EXPECT_TRUE(sys::WriteFileAtomically(path, "12345", 0600));
    EXPECT_TRUE(sys::SetModified(path, (kNow - days_old * kDay) * 1'000'000'000));
  }

  const std::unique_ptr<sys::TemporaryFolder> folder_;
  Sources sources_;
  const std::string hub_blobs_ = folder_->path() + "/hub/models--o--r/blobs";
  const std::string digits_ = std::string(64, 'a');
};

TEST_F(BrokenOffTest, OnlyOldOnesOfThisProgramGo) {
  const std::string old = hub_blobs_ + "/" + digits_ + ".part";
  const std::string young = sources_.folder + "/blobs/sha256-" + digits_ + ".part";
  const std::string url = sources_.folder + "/blobs/url-" + digits_ + ".part";
  const std::vector<std::string> foreign = {hub_blobs_ + "/" + digits_ + ".incomplete",
                                            hub_blobs_ + "/notes.part", hub_blobs_ + "/" + digits_,
                                            sources_.hub_folder + "/" + digits_ + ".part"};
  for (const std::string& path : foreign) Put(path, 30);
  Put(old, 8);
  Put(old + ".json", 8);
  Put(young, 6);
  Put(url, 8);
  const auto found = FindBrokenOff(sources_);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].bytes, 5u);
  RemoveOldBrokenOff(sources_, kNow);
  for (const std::string& path : {old, old + ".json", url}) EXPECT_FALSE(sys::Exists(path)) << path;
  EXPECT_TRUE(sys::Exists(young));
  for (const std::string& path : foreign) EXPECT_TRUE(sys::Exists(path)) << path;
}

TEST_F(BrokenOffTest, WhatIsJustBeingDownloadedStays) {
  const std::string path = hub_blobs_ + "/" + digits_ + ".part";
  Put(path, 30);
  const auto held = sys::PartFile::Open(path);
  ASSERT_TRUE(held);
  EXPECT_EQ(RemoveBrokenOff(path).error().code, ErrorCode::kOverloaded);
  RemoveOldBrokenOff(sources_, kNow);
  EXPECT_TRUE(sys::Exists(path));
}

}  // namespace
}  // namespace exo::fetch
