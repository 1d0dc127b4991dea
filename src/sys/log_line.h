// One line of the log, as people read it and as programs do. Thread: pure, any.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/log.h"

namespace exo::sys {

enum class LogFormat { kText, kJson };

// A pipe that polls writable takes this much without blocking (PIPE_BUF); longer lines are cut.
inline constexpr size_t kMaxLogLine = 4096;

// What the line says and who says it; `text` may hold anything.
struct LogEntry {
  std::string_view time;  // UTC, ISO 8601
  LogLevel level = LogLevel::kInfo;
  std::string_view node;
  std::string_view text;
};

// "debug", …
const char* LogLevelName(LogLevel level);

// "2026-01-31T12:00:00.000Z warning kitchen/1f3a09b2: text", without its end, below kMaxLogLine.
std::string TextLogLine(const LogEntry& entry);
// An object of one line: "time", "level", "node", "text", and "request", "plan" and "peer" of a
// text that begins with them ("request=ff7f203b …"). Below kMaxLogLine: a longer text is cut.
std::string JsonLogLine(const LogEntry& entry);

}  // namespace exo::sys
