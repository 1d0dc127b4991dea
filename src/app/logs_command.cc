#include "app/logs_command.h"

#include <fmt/chrono.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/output.h"
#include "base/text.h"
#include "sys/process.h"

namespace exo::app {
namespace {

using nlohmann::json;

void PrintLine(const json& line, bool as_json) {
  if (as_json) {
    PrintJson(line);
  } else {
    const int64_t ms = line.value("time", int64_t{0});
    Print("{:%Y-%m-%dT%H:%M:%S}.{:03}Z {} {}\n", fmt::gmtime(static_cast<std::time_t>(ms / 1000)),
          ms % 1000, Printable(line.value("level", "")), Printable(line.value("text", "")));
  }
  (void)FlushOutput();  // whoever reads along sees it now; what is lost is told at the end
}

}  // namespace

Result<void> RunLogs(const Settings& settings, const LogsOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  const auto read =
      api.Watched(TRY(sys::StopSignals()), {})
          .GetStream(options.follow ? "/v1/internal/logs" : "/v1/internal/logs?follow=false",
                     [&](const json& line) { PrintLine(line, options.json); });
  // Stopped by the user.
  if (!read && read.error().code == ErrorCode::kCancelled) return {};
  return read;
}

}  // namespace exo::app
