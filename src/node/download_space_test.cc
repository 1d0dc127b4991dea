// Which downloads make room for the next one.
#include "node/download_space.h"

#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/links.h"
#include "sys/temporary_folder.h"

namespace exo::node {
namespace {

constexpr uint64_t kMiB = 1 << 20;

std::vector<std::string> NamesOfThoseThatGo(const Result<std::vector<StoredDownload>>& go) {
  std::vector<std::string> names;
  if (go)
    for (const StoredDownload& one : *go) names.push_back(one.name);
  return names;
}

RoomRequest Request(uint64_t limit, uint64_t needed) {
  return {.name = "new",
          .limit = limit * kMiB,
          .needed = needed * kMiB,
          .stored = {{.name = "late", .used = 30, .bytes = 20 * kMiB},
                     {.name = "early", .used = 10, .bytes = 10 * kMiB},
                     {.name = "loaded", .used = 5, .stays = "is loaded", .bytes = 30 * kMiB}}};
}

TEST(DownloadSpaceTest, TheLeastRecentlyUsedMakesRoom) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(100, 40), 0)), Names{});
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(100, 41), 0)), Names{"early"});
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(100, 51), 0)), (Names{"early", "late"}));
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(100, 70), 0)), (Names{"early", "late"}));
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(0, 1000), 0)), Names{}) << "no limit";
  // Downloads that were broken off go before any model.
  EXPECT_EQ(NamesOfThoseThatGo(PlanRoom(Request(100, 40), 500 * kMiB)), Names{});
}

TEST(DownloadSpaceTest, WhatCannotFitIsRefusedWithTheSums) {
  for (const uint64_t needed : {71, 101}) {
    const auto refused = PlanRoom(Request(100, needed), 0);
    ASSERT_FALSE(refused) << needed;
    EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  }
  RoomRequest request = Request(100, 60);
  EXPECT_TRUE(PlanRoom(request, 0));
  request.coming = 20 * kMiB;
  const auto refused = PlanRoom(request, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "new needs 60.0 MiB, and downloads may take 100.0 MiB here (the setting "
            "download_space): 30.0 MiB stay (loaded (30.0 MiB) is loaded), 20.0 MiB are coming and "
            "30.0 MiB could go; raise the setting, or stop one of these models");
}

TEST(DownloadSpaceTest, DeletesFilesAndBrokenOffDownloads) {
  const auto folder = sys::TemporaryFolder::Create("exo-room-").value();
  fetch::Sources sources;
  sources.folder = folder->path() + "/models";
  sources.hub_folder = folder->path() + "/hub";
  const std::string blobs = sources.folder + "/blobs";
  ASSERT_TRUE(sys::MakeFolders(blobs));
  const auto put = [&](const std::string& path, uint64_t bytes) {
    EXPECT_TRUE(sys::WriteFileAtomically(path, std::string(bytes, 'x'), 0600));
    return path;
  };
  const auto download = [&](const std::string& name, int64_t used) {
    StoredDownload one{.name = name, .used = used};
    one.file.owned = {put(blobs + "/" + name, 100)};
    one.file.links = {sources.folder + "/" + name + ".gguf"};
    EXPECT_TRUE(sys::MakeLink(one.file.owned[0], one.file.links[0]));
    return one;
  };
  const std::string part = put(blobs + "/sha256-" + std::string(64, '1') + ".part", 50);
  const std::string running = put(blobs + "/sha256-" + std::string(64, '2') + ".part", 50);
  RoomRequest request{.name = "new", .limit = 300, .needed = 50, .coming = 50};
  request.running = {running};
  request.stored = {download("a", 2), download("b", 1)};
  // 50 + 50 + 200 + 50: the broken-off one is enough.
  EXPECT_EQ(NamesOfThoseThatGo(MakeRoom(sources, request)), std::vector<std::string>{});
  EXPECT_FALSE(sys::Exists(part));
  EXPECT_TRUE(sys::Exists(running));
  request.needed = 51;
  EXPECT_EQ(NamesOfThoseThatGo(MakeRoom(sources, request)), std::vector<std::string>{"b"});
  EXPECT_FALSE(sys::Exists(blobs + "/b"));
  EXPECT_FALSE(sys::NameExists(sources.folder + "/b.gguf"));
  EXPECT_TRUE(sys::Exists(blobs + "/a"));
}

}  // namespace
}  // namespace exo::node
