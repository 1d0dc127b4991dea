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

// Lines that are there come at once; when none has come for so many looks (ten a second) that was
// all.
constexpr int kQuietLooks = 3;

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
  sys::WakeFd quiet;
  int looks = 0;
  const auto wait = [&] {
    if (++looks >= kQuietLooks) quiet.Notify();
  };
  const HttpClient watched =
      options.follow ? api.Watched(TRY(sys::StopSignals()), {}) : api.Watched(quiet.fd(), wait);
  const auto read = watched.GetStream("/v1/internal/logs", [&](const json& line) {
    looks = 0;
    PrintLine(line, options.json);
  });
  // Stopped, by the user or since nothing comes any more.
  if (!read && read.error().code == ErrorCode::kCancelled) return {};
  return read;
}

}  // namespace exo::app
