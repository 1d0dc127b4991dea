// The log half of sys/standard_streams.h.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/mutex.h"
#include "base/text.h"
#include "sys/log_line.h"
#include "sys/standard_streams.h"

namespace exo::sys {
namespace {

struct LogState {
  Mutex mutex;
  std::string node EXO_GUARDED_BY(mutex);
  LogFormat format EXO_GUARDED_BY(mutex) = LogFormat::kText;
  uint64_t lost EXO_GUARDED_BY(mutex) = 0;
  uint64_t told EXO_GUARDED_BY(mutex) = 0;  // of `lost`, by a later line
};
// With base's sink the only mutable state of the program that has no owner: log lines have none.
LogState g_log;

std::string Timestamp() {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto ms = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

// False when it cannot be written now. Never blocks on a pipe whose reader sleeps.
bool WriteLine(std::string line) {
  if (line.size() >= kMaxLogLine) line.resize(kMaxLogLine - 1);
  line += '\n';
  pollfd entry{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&entry, 1, 0) <= 0 || (entry.revents & POLLOUT) == 0) return false;
  return ::write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace

void LogToStderr(LogLevel level, std::string_view line) {
  const MutexLock lock(g_log.mutex);
  if (g_log.node.empty()) {
    if (!WriteLine(fmt::format("exo {}: {}", LogLevelName(level), Printable(line)))) ++g_log.lost;
    return;
  }
  const std::string time = Timestamp();
  const auto write = [&](std::string_view text) EXO_REQUIRES(g_log.mutex) {
    const LogEntry entry{.time = time, .level = level, .node = g_log.node, .text = text};
    return WriteLine(g_log.format == LogFormat::kJson ? JsonLogLine(entry) : TextLogLine(entry));
  };
  if (const uint64_t missing = g_log.lost - g_log.told; missing > 0) {
    if (write(fmt::format("{} log lines before this one are missing", missing)))
      g_log.told = g_log.lost;
  }
  if (!write(line)) ++g_log.lost;
}

void SetLogNode(std::string_view node) {
  const MutexLock lock(g_log.mutex);
  g_log.node = Printable(node);
}

void SetLogFormat(LogFormat format) {
  const MutexLock lock(g_log.mutex);
  g_log.format = format;
}

uint64_t LostLogLines() {
  const MutexLock lock(g_log.mutex);
  return g_log.lost;
}

}  // namespace exo::sys
