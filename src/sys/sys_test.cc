#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "sys/cgroup.h"
#include "sys/fake/root.h"
#include "sys/files.h"
#include "sys/memory.h"
#include "sys/system.h"
#include "sys/thread_pool.h"

namespace exo::sys {
namespace {

class TestFolder {
 public:
  TestFolder() { CHECK_TRUE(::mkdtemp(path_) != nullptr); }
  ~TestFolder() { [[maybe_unused]] const int rc = ::system(("rm -rf " + path()).c_str()); }
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
        const uint32_t before = ran.fetch_add(1);
        if (before == 10) cancel.store(true);
        // Nobody runs ahead of the one that cancels, who may be held up just then.
        while (before > 10 && !cancel.load()) std::this_thread::yield();
      },
      &cancel));
  EXPECT_LT(ran.load(), 100u);
}

// Busy for a while, as an item of packing is.
void Work(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

TEST(ThreadPoolTest, AComputeJobWaitsForOneBackgroundItemAtMost) {
  constexpr uint32_t kItems = 200;
  for (const unsigned threads : {1u, 2u, 4u}) {
    ThreadPool pool(threads);
    std::atomic<uint32_t> begun{0};
    std::atomic<bool> wanted{false};
    std::vector<std::atomic<int>> seen(kItems);
    std::atomic<uint32_t> begun_when_waiting{0};
    std::atomic<bool> loaded{false};
    std::thread loader([&] {
      EXPECT_TRUE(pool.RunBackground(kItems, [&](uint32_t item, unsigned worker) {
        EXPECT_LT(worker, threads);
        begun.fetch_add(1);
        seen[item].fetch_add(1);
        if (item % 10 != 0) return;
        // The compute job comes while this item is at work.
        wanted.store(true);
        while (pool.waiting() == 0) std::this_thread::yield();
        begun_when_waiting.store(begun.load());
      }));
      loaded.store(true);
    });
    uint32_t jobs = 0;
    while (!loaded.load()) {
      if (!wanted.exchange(false)) {
        std::this_thread::yield();
        continue;
      }
      ++jobs;
      pool.Run(1, [&](uint32_t, unsigned) {
        // Each of the other threads may have begun one item before it saw the job.
        EXPECT_LE(begun.load() - begun_when_waiting.load(), threads - 1) << threads << " threads";
      });
    }
    loader.join();
    EXPECT_GT(jobs, 0u);
    for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
  }
}

TEST(ThreadPoolTest, ABackgroundJobEndsBesideBusyCompute) {
  ThreadPool pool(2);
  uint64_t jobs = 0;
  // Compute goes on meanwhile, but for a round in which this thread itself is held up.
  for (int round = 0; round < 10 && jobs <= 20; ++round) {
    std::atomic<bool> loaded{false};
    std::thread loader([&] {
      pool.RunBackground(100, [](uint32_t, unsigned) { Work(std::chrono::microseconds(100)); });
      loaded.store(true);
    });
    while (!loaded.load()) {
      pool.Run(4, [](uint32_t, unsigned) { Work(std::chrono::microseconds(10)); });
      ++jobs;
    }
    loader.join();
  }
  EXPECT_GT(jobs, 20u);
}

TEST(ThreadPoolTest, ComputeJobsTakeTurns) {
  ThreadPool pool(2);
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> others{0};
  std::thread greedy([&] {
    while (!stop.load()) {
      pool.Run(2, [](uint32_t, unsigned) { Work(std::chrono::microseconds(50)); });
      others.fetch_add(1);
    }
  });
  while (others.load() == 0) std::this_thread::yield();
  std::vector<uint32_t> waits;
  for (int i = 0; i < 101; ++i) {
    const uint32_t before = others.load();
    uint32_t at_start = 0;
    pool.Run(1, [&](uint32_t, unsigned) { at_start = others.load(); });
    waits.push_back(at_start - before);
  }
  stop.store(true);
  greedy.join();
  // The job at work, and those that ended before this one stood in line: many where it is held up
  // on the way there.
  std::ranges::sort(waits);
  EXPECT_LE(waits[50], 3u);
}

TEST(ThreadPoolTest, CancelEndsABackgroundJob) {
  ThreadPool pool(2);
  std::atomic<bool> cancel{false};
  std::atomic<uint32_t> ran{0};
  EXPECT_FALSE(pool.RunBackground(
      10000,
      [&](uint32_t, unsigned) {
        const uint32_t before = ran.fetch_add(1);
        if (before == 10) cancel.store(true);
        while (before > 10 && !cancel.load()) std::this_thread::yield();
      },
      &cancel));
  EXPECT_LT(ran.load(), 100u);
  EXPECT_FALSE(pool.RunBackground(1, [&](uint32_t, unsigned) { ran.fetch_add(1000); }, &cancel));
  EXPECT_LT(ran.load(), 1000u);
}

TEST(MemoryTest, IsAlignedAndZeroAndGivenBackWhole) {
  for (const size_t bytes : {size_t{1}, PageSize(), PageSize() + 1, size_t{3} << 20}) {
    auto memory = MapMemory(bytes);
    ASSERT_TRUE(memory.has_value());
    const size_t grain = bytes >= (2u << 20) ? 2u << 20 : PageSize();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*memory) % grain, 0u);
    for (size_t i = 0; i < bytes; i += 512) EXPECT_EQ((*memory)[i], std::byte{0});
    const size_t pages = (bytes + PageSize() - 1) / PageSize() * PageSize();
    UnmapMemory(*memory, bytes);
    // Nothing of it is mapped any more, the rest of the last page neither.
    for (size_t at = 0; at < pages; at += PageSize()) {
      unsigned char resident = 0;
      EXPECT_EQ(::mincore(*memory + at, PageSize(), &resident), -1) << at;
    }
  }
}

TEST(MemoryTest, WhatTheSystemLacksIsRefusedWithItsSize) {
  const auto memory = MapMemory(size_t{1} << 60);
  ASSERT_FALSE(memory.has_value());
  EXPECT_EQ(memory.error().code, ErrorCode::kOverloaded);
}

TEST(FileTest, WritesAtomicallyAndReadsBack) {
  const TestFolder folder;
  const std::string path = folder.path() + "/a/b/x";
  ASSERT_TRUE(MakeFolders(folder.path() + "/a/b"));
  ASSERT_TRUE(WriteFileAtomically(path, "one", 0600));
  ASSERT_TRUE(WriteFileAtomically(path, "two", 0600));
  EXPECT_EQ(ReadFile(path).value(), "two");
  EXPECT_EQ(ListFolder(folder.path() + "/a/b"), std::vector<std::string>{"x"});
  EXPECT_EQ(ReadFile(path, 2).error().code, ErrorCode::kOverloaded);
  EXPECT_EQ(ReadFile(folder.path() + "/none").error().code, ErrorCode::kNotFound);
}

// On any file system, those without O_DIRECT included.
TEST(FileTest, ReadsPastTheCacheWhateverTheOffsets) {
  const TestFolder folder;
  const std::string path = folder.path() + "/uncached";
  std::string bytes(300'001, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
  ASSERT_TRUE(WriteFileAtomically(path, bytes, 0600));
  const auto file = RealDisk().Open(path).value();
  AlignedBytes buffer;
  for (const auto& [offset, count] : std::vector<std::pair<size_t, size_t>>{{0, 1},
                                                                            {0, 4096},
                                                                            {1, 4096},
                                                                            {4095, 2},
                                                                            {4096, 200'000},
                                                                            {12'345, 65'536},
                                                                            {299'000, 1001},
                                                                            {300'000, 1},
                                                                            {0, 300'001}}) {
    const auto read = file->ReadUncached(offset, count, buffer);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(read->data()), read->size()),
              std::string_view(bytes).substr(offset, count))
        << offset << "+" << count;
  }
  EXPECT_EQ(file->ReadUncached(299'000, 1002, buffer).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->ReadUncached(400'000, 10, buffer).error().code, ErrorCode::kCorrupt);
}

TEST(FileTest, WhatIsHalfWrittenHasNoNameYet) {
  const TestFolder folder;
  const std::string path = folder.path() + "/x";
  auto writer = FileWriter::Create(path, 0600).value();
  ASSERT_TRUE(writer->Append(std::as_bytes(std::span(std::string_view("whole")))));
  EXPECT_EQ(ListFolder(folder.path()), std::vector<std::string>{});
  ASSERT_TRUE(writer->Commit());
  EXPECT_EQ(ListFolder(folder.path()), std::vector<std::string>{"x"});
  EXPECT_EQ(ReadFile(path).value(), "whole");
}

TEST(FileTest, AFileThatIsNotSyncedHasItsNameTooAndAnyTimeOfChange) {
  const TestFolder folder;
  const std::string path = folder.path() + "/x";
  auto writer = FileWriter::Create(path, 0600).value();
  ASSERT_TRUE(writer->Append(std::as_bytes(std::span(std::string_view("whole")))));
  ASSERT_TRUE(writer->Commit(FileWriter::Sync::kNo));
  EXPECT_EQ(ReadFile(path).value(), "whole");
  constexpr int64_t kThen = 1'234'567'890'123'456'789;
  ASSERT_TRUE(SetModified(path, kThen));
  EXPECT_EQ(RealDisk().Look(path)->modified_ns, kThen);
  EXPECT_EQ(SetModified(path + "y", kThen).error().code, ErrorCode::kNotFound);
}

TEST(FileTest, WritesOnlyInThePlaceOfARegularFile) {
  const TestFolder folder;
  const std::string pipe = folder.path() + "/pipe", link = folder.path() + "/null";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(::symlink("/dev/null", link.c_str()), 0);
  for (const std::string& path : {pipe, link, folder.path()}) {
    const auto written = WriteFileAtomically(path, "x", 0600);
    ASSERT_FALSE(written) << path;
    EXPECT_EQ(written.error().code, ErrorCode::kInvalid);
    EXPECT_NE(written.error().message.find("not a regular file"), std::string::npos);
  }
  EXPECT_EQ(ListFolder(folder.path()), (std::vector<std::string>{"null", "pipe"}));
}

TEST(FileTest, ALoopOfLinksAndATooLongNameAreNoFile) {
  const TestFolder folder;
  const std::string loop = folder.path() + "/loop", longer = folder.path() + std::string(300, 'n');
  ASSERT_EQ(::symlink("loop", loop.c_str()), 0);
  for (const std::string& path : {loop, longer}) {
    EXPECT_EQ(ReadFile(path).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(RealDisk().Look(path).error().code, ErrorCode::kNotFound);
  }
}

TEST(FileTest, LinksThatLeadNowhereSaySo) {
  const TestFolder folder;
  const std::string link = folder.path() + "/link", loop = folder.path() + "/loop";
  ASSERT_EQ(::symlink("gone", link.c_str()), 0);
  ASSERT_EQ(::symlink("loop", loop.c_str()), 0);
  EXPECT_FALSE(Exists(link));
  EXPECT_TRUE(NameExists(link));
  EXPECT_FALSE(NameExists(folder.path() + "/none"));
  const std::string words = "cannot open " + link + ": it is a link to gone, which does not exist";
  EXPECT_EQ(RealDisk().Look(link).error().message, words);
  EXPECT_EQ(ReadPlainFile(link).error().message, words);
  EXPECT_EQ(ReadFile(link).error().message, words);
  EXPECT_EQ(RealDisk().Look(loop).error().message,
            "cannot open " + loop + ": its links lead in a circle");
}

TEST(FileTest, WhatIsNoFileIsRefusedAndNotWaitedFor) {
  const TestFolder folder;
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, folder.path()}) {
    EXPECT_EQ(ReadPlainFile(path).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(RealDisk().Open(path).error().code, ErrorCode::kInvalid);
  }
  EXPECT_EQ(ReadPlainFile(pipe).error().message, pipe + " is a named pipe, not a regular file");
  EXPECT_EQ(RealDisk().List(pipe).error().message, pipe + " is not a folder");
  EXPECT_EQ(RealDisk().List(folder.path() + "/none").error().code, ErrorCode::kNotFound);
}

// The caller can help, and trying again cannot.
TEST(FileTest, AFileThatMayNotBeReadIsTheCallersMistake) {
  const TestFolder folder;
  const std::string file = folder.path() + "/f", locked = folder.path() + "/locked";
  ASSERT_TRUE(WriteFileAtomically(file, "x", 0));
  ASSERT_TRUE(MakeFolders(locked, 0700));
  ASSERT_TRUE(WriteFileAtomically(locked + "/f", "x", 0644));
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const bool root = ::geteuid() == 0;  // who may read everything
  if (root) ASSERT_EQ(::seteuid(65534), 0);
  if (!root) ASSERT_EQ(::chmod(locked.c_str(), 0), 0);
  const auto opened = RealDisk().Open(file);
  const auto looked = RealDisk().Look(locked + "/f");
  const auto listed = RealDisk().List(locked);
  if (root) ASSERT_EQ(::seteuid(0), 0);
  if (!root) ASSERT_EQ(::chmod(locked.c_str(), 0700), 0);
  ASSERT_FALSE(opened || looked || listed);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(opened.error().message,
            "cannot open " + file +
                ": Permission denied; let the user that runs exo read it, and enter the folders "
                "above it");
  EXPECT_EQ(looked.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(listed.error().code, ErrorCode::kIo) << "it keeps what it had";
}

TEST(FileTest, SecondLockNamesTheHolder) {
  const TestFolder folder;
  const std::string path = folder.path() + "/lock";
  auto first = FileLock::Acquire(path, "process 42");
  ASSERT_TRUE(first);
  auto second = FileLock::Acquire(path, "process 43");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, "process 42");
  first->reset();
  EXPECT_TRUE(FileLock::Acquire(path, "process 43"));
}

TEST(SystemTest, MemoryHonorsTheTightestCgroupLimit) {
  const FakeRoot root;
  root.Write("proc/meminfo", "MemTotal: 8192 kB\nMemFree: 10 kB\nMemAvailable: 4096 kB\n");
  EXPECT_EQ(ReadMemory(root.path()).total, 8 * kMiB);
  EXPECT_EQ(ReadMemory(root.path()).available, 4 * kMiB);
  root.Write("proc/self/cgroup", "4:memory:/a/b\n0::/\n");
  root.Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2097152\n");
  root.Write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576\n");
  root.Write("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 524288\n");
  root.Write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(ReadMemory(root.path()).total, 2 * kMiB);
  EXPECT_EQ(ReadMemory(root.path()).available, kMiB + kMiB / 2);
}

TEST(CgroupTest, TheTightestQuotaOnTheWayToTheRootHolds) {
  using std::chrono::milliseconds;
  const FakeRoot root;
  EXPECT_EQ(ReadCpuQuota(root.path()), std::nullopt);
  root.Write("proc/self/cgroup", "0::/a/b\n");
  root.Write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), std::nullopt);
  root.Write("sys/fs/cgroup/a/cpu.max", "25000 100000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), (CpuQuota{0.25, milliseconds(100)}));
  root.Write("sys/fs/cgroup/a/b/cpu.max", "15000 10000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), (CpuQuota{0.25, milliseconds(100)}));
  root.Write("sys/fs/cgroup/cpu.max", "2000 20000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), (CpuQuota{0.1, milliseconds(20)}));
}

TEST(CgroupTest, QuotasOfTheFirstVersionAreThoseOfItsController) {
  const FakeRoot root;
  root.Write("proc/self/cgroup", "3:cpuset:/a\n2:cpu,cpuacct:/a\n0::/\n");
  root.Write("sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "1000\n");
  root.Write("sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "100000\n");
  root.Write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
  root.Write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), std::nullopt);
  root.Write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "5000\n");
  root.Write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "10000\n");
  EXPECT_EQ(ReadCpuQuota(root.path()), (CpuQuota{0.5, std::chrono::milliseconds(10)}));
}

TEST(CgroupTest, WhatIsNoQuotaLimitsNothing) {
  const FakeRoot root;
  root.Write("proc/self/cgroup", "0::/a\n1:name=systemd:/\nno line\n");
  for (const char* text : {"", "max", "x y", "1000", "0 100000", "-5 100000", "1000 0"}) {
    root.Write("sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(ReadCpuQuota(root.path()), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace exo::sys
