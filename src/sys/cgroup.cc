#include "sys/cgroup.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "sys/files.h"

namespace exo::sys {
namespace {

// "cpu,cpuacct" lists "cpu"; "cpuset" does not.
bool Lists(std::string_view controllers, std::string_view wanted) {
  for (size_t at = 0; at <= controllers.size();) {
    const size_t end = std::min(controllers.find(',', at), controllers.size());
    if (controllers.substr(at, end - at) == wanted) return true;
    at = end + 1;
  }
  return false;
}

std::string TextOf(const std::string& path) {
  return ReadFile(path, 4096).value_or("");
}

// Quotas and periods are microseconds; a quota of "max" or -1 is none.
std::optional<CpuQuota> QuotaOf(const std::string& folder, bool v2) {
  long long quota = 0;
  long long period = 0;
  if (v2) {
    if (std::sscanf(TextOf(folder + "/cpu.max").c_str(), "%lld %lld", &quota, &period) != 2)
      return std::nullopt;
  } else {
    quota = std::atoll(TextOf(folder + "/cpu.cfs_quota_us").c_str());
    period = std::atoll(TextOf(folder + "/cpu.cfs_period_us").c_str());
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return CpuQuota{.cores = static_cast<double>(quota) / static_cast<double>(period),
                  .period = std::chrono::microseconds(period)};
}

}  // namespace

void VisitCgroups(const std::string& root, std::string_view controller,
                  const std::function<void(const std::string& folder, bool v2)>& visit) {
  const auto membership = ReadFile(root + "proc/self/cgroup", 1 << 16);
  if (!membership) return;
  std::istringstream lines(*membership);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !Lists(controllers, controller)) continue;
    const std::string base = root + "sys/fs/cgroup" + (v2 ? "" : "/" + std::string(controller));
    std::string path = line.substr(second + 1);
    for (;;) {
      visit(base + (path == "/" ? "" : path), v2);
      if (path.empty() || path == "/") break;
      const size_t slash = path.rfind('/');
      path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
    }
  }
}

std::optional<CpuQuota> ReadCpuQuota(const std::string& root) {
  std::optional<CpuQuota> tightest;
  VisitCgroups(root, "cpu", [&](const std::string& folder, bool v2) {
    const auto quota = QuotaOf(folder, v2);
    if (quota && (!tightest || quota->cores < tightest->cores)) tightest = quota;
  });
  return tightest;
}

}  // namespace exo::sys
