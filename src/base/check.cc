#include "base/check.h"

#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "base/result.h"

namespace exo {
namespace {

void WriteToStderr(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error", ""};
  fmt::print(stderr, "exo {}: {}\n", kNames[static_cast<int>(level)], line);
}

LogSink g_sink = WriteToStderr;
LogLevel g_lowest = LogLevel::kWarning;

}  // namespace

const char* ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kOverloaded:
      return "overloaded";
    case ErrorCode::kDisconnected:
      return "disconnected";
    case ErrorCode::kCorrupt:
      return "corrupt";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

void SetLog(LogSink sink, LogLevel lowest) {
  g_sink = sink != nullptr ? sink : WriteToStderr;
  g_lowest = lowest;
}

bool LogEnabled(LogLevel level) {
  return level >= g_lowest;
}
void LogLine(LogLevel level, std::string_view line) {
  g_sink(level, line);
}

namespace internal {
void CheckFailed(const char* file, int line, const std::string& what) {
  fmt::print(stderr, "exo: CHECK failed at {}:{}: {}\n", file, line, what);
  std::abort();
}
}  // namespace internal
}  // namespace exo
