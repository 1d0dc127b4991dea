// The last lines of this process's log, kept in memory for who looks at a running node from
// elsewhere: also those that are too low to be written.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"

namespace exo::sys {

inline constexpr size_t kKeptLogLines = 1000;
inline constexpr size_t kKeptLogBytes = 1000;  // of a line; what is longer is cut
// Lines of this level and above are kept, whatever is written.
inline constexpr LogLevel kKeptLogLevel = LogLevel::kInfo;

struct KeptLogLine {
  uint64_t number = 0;  // grows by one, and across restarts
  int64_t time_ms = 0;  // since 1970
  LogLevel level = LogLevel::kInfo;
  std::string text;
};

// From now on the log is kept, beside being written to standard error (LogToStderr) from the level
// `lowest` on. Thread: before other threads start.
void KeepLog(LogLevel lowest);

// Those after the one of this number, oldest first.
std::vector<KeptLogLine> KeptLogLines(uint64_t after);

}  // namespace exo::sys
