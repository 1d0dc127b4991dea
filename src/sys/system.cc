#include "sys/system.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <sstream>
#include <string>

#include "sys/cgroup.h"
#include "sys/files.h"

namespace exo::sys {
namespace {

// The number behind "Key:" in a /proc table that counts in KiB.
std::optional<uint64_t> KibField(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':') {
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * kKiB;
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> NumberIn(const std::string& path) {
  const auto text = ReadFile(path, 4096);
  if (!text || text->empty() || text->starts_with("max")) return std::nullopt;
  return std::strtoull(text->c_str(), nullptr, 10);
}

struct Limit {
  uint64_t bytes = 0;
  uint64_t used = 0;  // without reclaimable file pages
};

// Reclaimable file pages of a cgroup (v1 and v2 share the key names used here).
uint64_t InactiveFile(const std::string& folder) {
  const auto text = ReadFile(folder + "/memory.stat", 1 << 20);
  if (!text) return 0;
  uint64_t bytes = 0;
  std::istringstream lines(*text);
  std::string key;
  uint64_t value;
  while (lines >> key >> value) {
    if (key == "inactive_file" || key == "active_file") bytes += value;
  }
  return bytes;
}

// The tightest memory limit on the way from this process's cgroup to the root.
std::optional<Limit> CgroupLimit(const std::string& root) {
  std::optional<Limit> tightest;
  VisitCgroups(root, "memory", [&](const std::string& folder, bool v2) {
    const auto bytes = NumberIn(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (!bytes || *bytes >= (uint64_t{1} << 60) || (tightest && *bytes >= tightest->bytes)) return;
    const auto used = NumberIn(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    const uint64_t file = InactiveFile(folder);
    tightest = Limit{*bytes, used ? *used - std::min(*used, file) : 0};
  });
  return tightest;
}

uint64_t StatusField(std::string_view key) {
  const auto text = ReadFile("/proc/self/status", 1 << 16);
  return text ? KibField(*text, key).value_or(0) : 0;
}

double ClockSeconds(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string FolderFrom(const char* sub, const char* xdg, const char* fallback) {
  if (const std::string home = Environment("EXO_HOME"); !home.empty()) return home + sub;
  if (const std::string base = Environment(xdg); !base.empty()) return base + "/exo";
  const std::string home = Environment("HOME");
  return (home.empty() ? "/var/lib" : home) + fallback;
}

}  // namespace

MemoryInfo ReadMemory(const std::string& root) {
  MemoryInfo info;
  if (const auto text = ReadFile(root + "proc/meminfo", 1 << 16)) {
    info.total = KibField(*text, "MemTotal").value_or(0);
    info.available = KibField(*text, "MemAvailable").value_or(info.total / 2);
  }
  if (const auto limit = CgroupLimit(root)) {
    info.total = std::min(info.total, limit->bytes);
    info.available = std::min(info.available, limit->bytes - std::min(limit->bytes, limit->used));
  }
  return info;
}

unsigned UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned cores = 1;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0)
    cores = static_cast<unsigned>(CPU_COUNT(&set));
  // More threads than the quota feeds would only stand still together.
  if (const auto quota = ReadCpuQuota())
    cores = std::min(cores, static_cast<unsigned>(std::ceil(quota->cores)));
  return std::max(cores, 1u);
}

void LowerThreadPriority() {
#ifdef __linux__
  // 0: the calling thread. A system that refuses loses nothing but politeness.
  (void)::setpriority(PRIO_PROCESS, 0, 19);
#endif
}

uint64_t ResidentBytes() {
  return StatusField("VmRSS");
}
uint64_t PeakResidentBytes() {
  return StatusField("VmHWM");
}
uint64_t AnonymousBytes() {
  return StatusField("RssAnon");
}

double ProcessCpuSeconds() {
  return ClockSeconds(CLOCK_PROCESS_CPUTIME_ID);
}
double ThreadCpuSeconds() {
  return ClockSeconds(CLOCK_THREAD_CPUTIME_ID);
}

std::string ProcessorName() {
  constexpr std::string_view kKey = "model name";
  const auto text = ReadFile("/proc/cpuinfo", 1 << 20);
  const size_t key = text ? text->find(kKey) : std::string::npos;
  if (key == std::string::npos) return "unknown";
  const size_t begin = text->find_first_not_of(" \t:", key + kKey.size());
  const size_t end = text->find('\n', key);
  return begin < end ? text->substr(begin, end - begin) : "unknown";
}

std::string HostName() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == 0) return "device";
  return name;
}

std::vector<std::string> EnvironmentNames() {
  std::vector<std::string> names;
  for (char** variable = ::environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    names.emplace_back(text.substr(0, text.find('=')));
  }
  return names;
}

std::string HomeFolder() {
  return Environment("HOME");
}
std::string DataFolder() {
  return FolderFrom("", "XDG_DATA_HOME", "/.local/share/exo");
}
std::string CacheFolder() {
  return FolderFrom("/cache", "XDG_CACHE_HOME", "/.cache/exo");
}

Time Now() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

int64_t WallClockSeconds() {
  return ::time(nullptr);
}

int64_t WallClockMilliseconds() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
}

int64_t LocalSeconds() {
  const std::time_t now = WallClockSeconds();
  std::tm parts{};
  ::localtime_r(&now, &parts);
  return now + parts.tm_gmtoff;
}

}  // namespace exo::sys
