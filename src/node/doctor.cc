#include "node/doctor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "base/thread.h"
#include "base/units.h"
#include "net/reach.h"
#include "sys/files.h"

namespace exo::node {
namespace {

// Below it a pull or a state file may fail at any moment; a model does not fit in any case.
constexpr uint64_t kDiskProblem = 200 * kMiB, kDiskWarning = 2 * kGiB;
constexpr uint64_t kMemoryWarning = 256 * kMiB;
// A device of a large cluster has a connection for each member, client and download.
constexpr uint64_t kOpenFiles = 1024;
// What a clock may be behind a file that it has stamped: file servers have clocks of their own.
constexpr int64_t kClockSlack = 300;
// A clock in front of this has never been set: 2025-01-01.
constexpr int64_t kNotBefore = 1'735'689'600;
constexpr size_t kMaxProbes = 64;
constexpr Time kProbePatience = std::chrono::milliseconds(800);
constexpr std::string_view kSecrets[] = {"key.pem",    "key-next.pem",  "admin-token",
                                         "prefix.key", "api-keys.json", "cluster.secret"};

Finding Ok(const char* id, std::string title, std::string detail) {
  return {.id = id, .title = std::move(title), .detail = std::move(detail)};
}

Finding JudgeFolder(const DeviceSight& sight) {
  constexpr const char* kId = "folder";
  if (!sight.rights) {
    return {kId, FindingState::kUnknown, "there is no data folder yet",
            fmt::format("{} does not exist", sight.folder), "exo up makes it"};
  }
  if (!sight.rights->writable) {
    return {kId, FindingState::kProblem, "the data folder cannot be written",
            fmt::format("{} has mode {:04o} and {}", sight.folder, sight.rights->mode,
                        sight.rights->mine ? "is yours" : "belongs to another user"),
            fmt::format("give it to the user that runs exo: chown -R $USER {0}; chmod 700 {0}",
                        sight.folder)};
  }
  if ((sight.rights->mode & 077) != 0 || !sight.open_secrets.empty()) {
    std::string detail = fmt::format("{} has mode {:04o}", sight.folder, sight.rights->mode);
    if (!sight.open_secrets.empty())
      detail += fmt::format("; others may read {}", fmt::join(sight.open_secrets, ", "));
    const bool readable = !sight.open_secrets.empty();
    return {kId, readable ? FindingState::kProblem : FindingState::kWarning,
            readable ? "other users of this machine can read its keys"
                     : "other users of this machine can look into the data folder",
            detail, fmt::format("chmod -R go= {}", sight.folder)};
  }
  return Ok(kId, "the data folder is in order", sight.folder);
}

Finding JudgeDisk(const DeviceSight& sight) {
  constexpr const char* kId = "disk";
  if (!sight.disk)
    return {kId, FindingState::kUnknown, "the disk does not say how full it is", sight.folder, ""};
  const std::string detail =
      fmt::format("{} of {} are free where {} lies", FormatSize(sight.disk->free),
                  FormatSize(sight.disk->total), sight.folder);
  const std::string fix =
      "make room: exo rm MODEL deletes one that was pulled; `download_space` "
      "in exo.toml limits how much exo takes";
  if (sight.disk->free < kDiskProblem)
    return {kId, FindingState::kProblem, "the disk is full", detail, fix};
  if (sight.disk->free < kDiskWarning)
    return {kId, FindingState::kWarning, "the disk is nearly full", detail, fix};
  return Ok(kId, "there is room on the disk", detail);
}

Finding JudgeClock(const DeviceSight& sight) {
  constexpr const char* kId = "clock";
  const std::string fix = "set it, and let it be kept right: timedatectl set-ntp true";
  if (sight.now < kNotBefore) {
    return {kId, FindingState::kProblem, "the clock was never set",
            fmt::format("it says that {} days have passed since 1970", sight.now / 86'400), fix};
  }
  if (sight.last_written > sight.now + kClockSlack) {
    return {kId, FindingState::kProblem, "the clock is wrong",
            fmt::format("a file in {} was written {} s later than it is now", sight.folder,
                        sight.last_written - sight.now),
            fix};
  }
  if (sight.clock_kept == false) {
    return {kId, FindingState::kOk, "the clock runs by itself",
            "nothing on this machine keeps it right; downloads fail once it is off by days", ""};
  }
  return Ok(kId, "the clock is right", "");
}

Finding JudgeLimits(const DeviceSight& sight) {
  constexpr const char* kId = "files";
  const std::string detail = fmt::format(
      "this user's programs may have {} files and connections "
      "open at once",
      sight.open_files);
  if (sight.open_files > 0 && sight.open_files < kOpenFiles) {
    return {kId, FindingState::kWarning, "few files may be open at once", detail,
            fmt::format("raise it before exo starts: ulimit -n {}", 4 * kOpenFiles)};
  }
  return Ok(kId, "enough files may be open at once", detail);
}

Finding JudgeFreeMemory(const DeviceSight& sight) {
  constexpr const char* kId = "memory";
  const std::string detail = fmt::format("{} of {} are free", FormatSize(sight.memory.available),
                                         FormatSize(sight.memory.total));
  if (sight.memory.available < kMemoryWarning) {
    return {kId, FindingState::kWarning, "the memory is nearly used up", detail,
            "close programs, or free a model: exo stop MODEL"};
  }
  return Ok(kId, "there is free memory", detail);
}

}  // namespace

DeviceSight LookAtDevice(const std::string& folder) {
  DeviceSight sight{.folder = folder,
                    .memory = sys::ReadMemory(),
                    .open_files = sys::OpenFileLimit(),
                    .clock_kept = sys::ClockIsKept(),
                    .now = sys::WallClockSeconds()};
  const auto rights = sys::ReadRights(folder);
  // One that is not there yet will lie on the disk of the folder above it.
  std::string existing = folder;
  while (!sys::Exists(existing) && existing.find('/') != std::string::npos)
    existing = existing.substr(0, std::max<size_t>(existing.rfind('/'), 1));
  if (const auto disk = sys::ReadDiskSpace(existing)) sight.disk = *disk;
  if (!rights) return sight;
  sight.rights = *rights;
  for (const std::string& name : sys::ListFolder(folder)) {
    const auto one = sys::ReadRights(folder + "/" + name);
    if (one) sight.last_written = std::max(sight.last_written, one->modified_seconds);
    if (one && (one->mode & 044) != 0 && std::ranges::find(kSecrets, name) != std::end(kSecrets))
      sight.open_secrets.push_back(name);
  }
  return sight;
}

std::vector<Finding> JudgeDevice(const DeviceSight& sight) {
  return {JudgeFolder(sight), JudgeDisk(sight), JudgeClock(sight), JudgeFreeMemory(sight),
          JudgeLimits(sight)};
}

std::vector<std::vector<std::string>> Unreached(const AddressLists& lists) {
  std::vector<std::vector<std::string>> reasons(lists.size());
  std::vector<std::thread> probes;  // side by side: each may wait for all of its patience
  for (size_t i = 0; i < lists.size(); ++i) {
    reasons[i].resize(lists[i].size());
    for (size_t j = 0; j < lists[i].size() && probes.size() < kMaxProbes; ++j) {
      probes.push_back(StartThread([&reason = reasons[i][j], &address = lists[i][j]] {
        const auto met = net::TryConnect(address, kProbePatience);
        if (!met)
          reason = fmt::format("{}:{} ({})", address.host, address.port, met.error().message);
      }));
    }
  }
  for (std::thread& probe : probes) probe.join();
  for (auto& list : reasons) std::erase(list, "");
  return reasons;
}

}  // namespace exo::node
