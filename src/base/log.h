// LOG(kInfo, "loaded {} in {} ms", name, ms): one line of text to the process's sink. The sink is
// the one piece of global state of the program; `app` sets it once before any thread starts.
// Answers and secrets are never logged, and prompts only where the setting log_prompts says so.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace exo {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

using LogSink = void (*)(LogLevel level, std::string_view line);

// Sets where lines go (default: standard error) and the lowest level that is written (default:
// kWarning). Thread: before other threads start.
void SetLog(LogSink sink, LogLevel lowest);
bool LogEnabled(LogLevel level);
void LogLine(LogLevel level, std::string_view line);

}  // namespace exo

#define LOG(level, ...)                                                   \
  do {                                                                    \
    if (::exo::LogEnabled(::exo::LogLevel::level)) {                      \
      ::exo::LogLine(::exo::LogLevel::level, ::fmt::format(__VA_ARGS__)); \
    }                                                                     \
  } while (false)
