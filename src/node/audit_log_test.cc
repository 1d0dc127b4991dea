// The audit log on disk: its order, and that a changed line shows.
#include "node/audit_log.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "store/test_folder.h"
#include "sys/files.h"

namespace exo::node {
namespace {

// Written by this thread: Flush writes what no job has.
void WriteAll(const std::string& folder, const std::vector<AuditEntry>& entries) {
  net::EventLoop loop;
  Jobs jobs(loop);
  jobs.Stop();
  AuditLog log(jobs, folder);
  for (const AuditEntry& entry : entries) log.Add(entry);
  log.Flush();
}

TEST(AuditLogTest, KeepsWhatHappenedInOrder) {
  const store::TestFolder folder;
  EXPECT_TRUE(AuditLog::Read(folder.path())->empty());
  WriteAll(folder.path(), {{.event = "joined", .device = NodeId{{1}}, .name = "desk"}});
  WriteAll(folder.path(), {{.event = "wrong code", .detail = "line\nend \xff"},
                           {.event = "forgotten", .device = NodeId{{1}}}});
  const auto entries = AuditLog::Read(folder.path());
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].name, "desk");
  EXPECT_EQ((*entries)[0].device, (NodeId{{1}}));
  EXPECT_GT((*entries)[0].time, 1'700'000'000);
  EXPECT_EQ((*entries)[1].event, "wrong code");
  EXPECT_EQ((*entries)[2].event, "forgotten");
}

TEST(AuditLogTest, AChangedOrMissingLineShows) {
  const store::TestFolder folder;
  WriteAll(folder.path(), {{.event = "joined", .name = "a"},
                           {.event = "forgotten", .name = "a"},
                           {.event = "joined", .name = "b"}});
  const std::string path = folder / "audit.log";
  const std::string good = sys::ReadFile(path).value();
  const auto reads = [&](const std::string& text) {
    EXPECT_TRUE(sys::WriteFileAtomically(path, text, 0600));
    const auto entries = AuditLog::Read(folder.path());
    return entries ? "" : entries.error().message;
  };
  EXPECT_EQ(reads(good), "");
  std::string changed = good;
  changed.replace(changed.find("forgotten"), 9, "forgiven!");
  EXPECT_NE(reads(changed).find("line 2"), std::string::npos);
  const size_t second = good.find('\n') + 1, third = good.find('\n', second) + 1;
  EXPECT_NE(reads(good.substr(0, second) + good.substr(third)).find("line 2"), std::string::npos);
  EXPECT_NE(reads(good.substr(second)).find("line 1"), std::string::npos);
  EXPECT_NE(reads(good + "garbage").find("line 4"), std::string::npos);
  // What comes after a damaged end is still written, on a line of its own.
  WriteAll(folder.path(), {{.event = "joined", .name = "c"}});
  EXPECT_NE(sys::ReadFile(path).value().find("garbage\n"), std::string::npos);
}

}  // namespace
}  // namespace exo::node
