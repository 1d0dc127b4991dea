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
  EXPECT_TRUE(AuditLog::Read(folder.path())->entries.empty());
  WriteAll(folder.path(), {{.event = "joined", .device = NodeId{{1}}, .name = "desk"}});
  WriteAll(folder.path(), {{.event = "wrong code", .detail = "line\nend \xff"},
                           {.event = "forgotten", .device = NodeId{{1}}}});
  const auto trail = AuditLog::Read(folder.path());
  ASSERT_TRUE(trail) << trail.error().message;
  ASSERT_EQ(trail->entries.size(), 3u);
  EXPECT_EQ(trail->entries[0].name, "desk");
  EXPECT_EQ(trail->entries[0].device, (NodeId{{1}}));
  EXPECT_GT(trail->entries[0].time, 1'700'000'000);
  EXPECT_EQ(trail->entries[1].event, "wrong code");
  EXPECT_EQ(trail->entries[2].event, "forgotten");
  EXPECT_EQ(trail->torn_bytes, 0u);
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
    const auto trail = AuditLog::Read(folder.path());
    return trail ? "" : trail.error().message;
  };
  EXPECT_EQ(reads(good), "");
  std::string changed = good;
  changed.replace(changed.find("forgotten"), 9, "forgiven!");
  EXPECT_NE(reads(changed).find("line 2"), std::string::npos);
  const size_t second = good.find('\n') + 1, third = good.find('\n', second) + 1;
  EXPECT_NE(reads(good.substr(0, second) + good.substr(third)).find("line 2"), std::string::npos);
  EXPECT_NE(reads(good.substr(second)).find("line 1"), std::string::npos);
  EXPECT_NE(reads(good + "garbage\n").find("line 4"), std::string::npos);
  EXPECT_NE(reads(good + "{}").find("line 4"), std::string::npos);
  // A line torn in the middle is no power cut: the ones behind it were written later.
  const std::string torn = good.substr(0, third - 20) + "\n" + good.substr(third);
  EXPECT_NE(reads(torn).find("line 2"), std::string::npos);
  // What comes after a damaged end is still written, on a line of its own, and hides nothing.
  EXPECT_NE(reads(good + "{}"), "");
  WriteAll(folder.path(), {{.event = "joined", .name = "c"}});
  EXPECT_NE(sys::ReadFile(path).value().find("{}\n"), std::string::npos);
  EXPECT_FALSE(AuditLog::Read(folder.path()));
}

TEST(AuditLogTest, ALineTornByAPowerCutIsToldAndCutOff) {
  const store::TestFolder folder;
  WriteAll(folder.path(), {{.event = "joined", .name = "a"}, {.event = "forgotten", .name = "b"}});
  const std::string path = folder / "audit.log";
  const std::string good = sys::ReadFile(path).value();
  const size_t second = good.find('\n') + 1;
  for (const std::string& end :
       {good.substr(second, 30), good.substr(second, 1), std::string(50, '\0')}) {
    const std::string whole = good.substr(0, second);
    ASSERT_TRUE(sys::WriteFileAtomically(path, whole + end, 0600));
    const auto torn = AuditLog::Read(folder.path());
    ASSERT_TRUE(torn) << torn.error().message;
    EXPECT_EQ(torn->entries.size(), 1u);
    EXPECT_EQ(torn->torn_bytes, end.size());
    // The next line goes on behind the last whole one, and what was lost is in the chain.
    WriteAll(folder.path(), {{.event = "joined", .name = "c"}});
    const auto next = AuditLog::Read(folder.path());
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(next->torn_bytes, 0u);
    ASSERT_EQ(next->entries.size(), 3u);
    EXPECT_EQ(next->entries[1].event, "torn line cut off");
    EXPECT_NE(next->entries[1].detail.find(fmt::format("{} bytes", end.size())), std::string::npos);
    EXPECT_EQ(next->entries[2].name, "c");
  }
  // One that lacks nothing but its end is whole.
  ASSERT_TRUE(sys::WriteFileAtomically(path, good.substr(0, good.size() - 1), 0600));
  EXPECT_EQ(AuditLog::Read(folder.path())->entries.size(), 2u);
  WriteAll(folder.path(), {{.event = "joined", .name = "c"}});
  EXPECT_EQ(AuditLog::Read(folder.path())->entries.size(), 3u);
}

}  // namespace
}  // namespace exo::node
