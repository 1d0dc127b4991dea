#include "base/check.h"

#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "base/result.h"

namespace exo {
namespace {

void WriteToStderr(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error", ""};
  // A full disk or a closed descriptor must not end the program: a line that cannot be written is
  // lost (sys/standard_streams.h has a sink that counts them).
  const std::string text = fmt::format("exo {}: {}\n", kNames[static_cast<int>(level)], line);
  std::fwrite(text.data(), 1, text.size(), stderr);
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
      return "canceled";
    case ErrorCode::kDenied:
      return "denied";
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
  const std::string text = fmt::format("exo: CHECK failed at {}:{}: {}\n", file, line, what);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::abort();
}
}  // namespace internal
}  // namespace exo
