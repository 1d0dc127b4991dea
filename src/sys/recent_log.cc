#include "sys/recent_log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>

#include "base/mutex.h"
#include "base/text.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::sys {
namespace {

struct RecentLog {
  std::atomic<LogLevel> written = LogLevel::kWarning;  // the lowest level
  Mutex mutex;
  uint64_t next EXO_GUARDED_BY(mutex) = 1;
  std::deque<KeptLogLine> lines EXO_GUARDED_BY(mutex);
};
// A part of the sink, and like it without an owner.
RecentLog g_recent;

int64_t Milliseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

void Sink(LogLevel level, std::string_view line) {
  if (level >= g_recent.written) LogToStderr(level, line);
  KeptLogLine kept{
      .time_ms = Milliseconds(), .level = level, .text = ToUtf8(line.substr(0, kKeptLogBytes))};
  const MutexLock lock(g_recent.mutex);
  kept.number = g_recent.next++;
  g_recent.lines.push_back(std::move(kept));
  if (g_recent.lines.size() > kKeptLogLines) g_recent.lines.pop_front();
}

}  // namespace

void KeepLog(LogLevel lowest) {
  g_recent.written = lowest;
  {
    const MutexLock lock(g_recent.mutex);
    g_recent.lines.clear();
    // Above all numbers of earlier runs: microseconds since 1970, exact in JSON.
    g_recent.next = static_cast<uint64_t>(WallClockSeconds()) * 1'000'000;
  }
  SetLog(Sink, std::min(lowest, kKeptLogLevel));
}

std::vector<KeptLogLine> KeptLogLines(uint64_t after) {
  const MutexLock lock(g_recent.mutex);
  const auto first = std::ranges::find_if(
      g_recent.lines, [after](const KeptLogLine& line) { return line.number > after; });
  return {first, g_recent.lines.end()};
}

}  // namespace exo::sys
