#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <numeric>

#include "sys/files.h"
#include "sys/system.h"
#include "sys/thread_pool.h"

namespace exo::sys {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() { CHECK_TRUE(::mkdtemp(path_) != nullptr); }
  ~TemporaryFolder() { [[maybe_unused]] const int rc = ::system(("rm -rf " + path()).c_str()); }
  std::string path() const { return path_; }

 private:
  static void CHECK_TRUE(bool ok) { ASSERT_TRUE(ok); }
  char path_[32] = "/tmp/exo-sys-test-XXXXXX";
};

TEST(ThreadPoolTest, RunsEachItemOnce) {
  for (unsigned threads : {1u, 2u, 3u, 5u}) {
    ThreadPool pool(threads);
    for (uint32_t items : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> seen(items);
      EXPECT_TRUE(pool.Run(items, [&](uint32_t item, unsigned worker) {
        EXPECT_LT(worker, threads);
        seen[item].fetch_add(1);
      }));
      for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
    }
  }
}

// Many short jobs in a row: a worker that sleeps through jobs must never touch a later one.
TEST(ThreadPoolTest, ManyShortJobsNeverMixTheirFields) {
  ThreadPool pool(4);
  std::atomic<uint64_t> total{0};
  uint64_t expected = 0;
  for (uint32_t job = 0; job < 20000; ++job) {
    const uint32_t items = job % 5;
    expected += uint64_t{items} * job;
    pool.Run(items, [&total, job](uint32_t, unsigned) { total.fetch_add(job); });
  }
  EXPECT_EQ(total.load(), expected);
}

TEST(ThreadPoolTest, CancelSkipsItemsNotYetBegun) {
  ThreadPool pool(2);
  std::atomic<bool> cancel{false};
  std::atomic<uint32_t> ran{0};
  EXPECT_FALSE(pool.Run(
      10000,
      [&](uint32_t, unsigned) {
        if (ran.fetch_add(1) == 10) cancel.store(true);
      },
      &cancel));
  EXPECT_LT(ran.load(), 100u);
}

TEST(FileTest, WritesAtomicallyAndReadsBack) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/a/b/x";
  ASSERT_TRUE(MakeFolders(folder.path() + "/a/b"));
  ASSERT_TRUE(WriteFileAtomically(path, "one", 0600));
  ASSERT_TRUE(WriteFileAtomically(path, "two", 0600));
  EXPECT_EQ(ReadFile(path).value(), "two");
  EXPECT_EQ(ListFolder(folder.path() + "/a/b"), std::vector<std::string>{"x"});
  EXPECT_EQ(ReadFile(path, 2).error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(ReadFile(folder.path() + "/none").error().code, ErrorCode::kNotFound);
}

TEST(FileTest, SecondLockNamesTheHolder) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/lock";
  auto first = FileLock::Acquire(path, "process 42");
  ASSERT_TRUE(first);
  auto second = FileLock::Acquire(path, "process 43");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, "process 42");
  first->reset();
  EXPECT_TRUE(FileLock::Acquire(path, "process 43"));
}

TEST(SystemTest, MemoryHonoursTheTightestCgroupLimit) {
  const TemporaryFolder folder;
  const std::string root = folder.path() + "/";
  const auto write = [&](const std::string& path, std::string_view text) {
    ASSERT_TRUE(MakeFolders(root + path.substr(0, path.rfind('/'))));
    ASSERT_TRUE(WriteFileAtomically(root + path, text, 0600));
  };
  write("proc/meminfo", "MemTotal: 8192 kB\nMemFree: 10 kB\nMemAvailable: 4096 kB\n");
  EXPECT_EQ(ReadMemory(root).total, 8 * kMiB);
  EXPECT_EQ(ReadMemory(root).available, 4 * kMiB);
  write("proc/self/cgroup", "4:memory:/a/b\n0::/\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2097152\n");
  write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576\n");
  write("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 524288\n");
  write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(ReadMemory(root).total, 2 * kMiB);
  EXPECT_EQ(ReadMemory(root).available, kMiB + kMiB / 2);
}

}  // namespace
}  // namespace exo::sys
