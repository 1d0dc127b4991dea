#include "app/dashboard_command.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/output.h"
#include "base/text.h"
#include "sys/process.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

using nlohmann::json;

// What a desktop session sets for its programs; a login over SSH has neither.
bool HasDisplay() {
  const auto is_set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != 0;
  };
  return is_set("WAYLAND_DISPLAY") || is_set("DISPLAY");
}

}  // namespace

Result<void> RunDashboard(const Settings& settings, const DashboardOptions& options) {
  const json link = TRY(TRY(OwnNode(settings)).Post("/v1/internal/session-link", json::object()));
  if (options.json) {
    PrintJson(link);
    return {};
  }
  const std::string url = link.value("url", "");
  Print("{}\n", Printable(url));
  TRY(FlushOutput());
  const unsigned minutes = link.value("seconds", 0u) / 60;
  Note("exo: this link works once, within {} minutes, in a browser of this machine\n", minutes);
  for (const json& other : link.value("others", json::array())) {
    if (other.is_string())
      Note("exo: or in a browser of another device: {}\n", Printable(other.get<std::string>()));
  }
  if (options.print || !HasDisplay() || !sys::IsTerminal(1)) return {};
  if (const auto opened = sys::StartDetached({"xdg-open", url}); !opened)
    Note("exo: no browser was opened ({}); open the link yourself\n", opened.error().message);
  return {};
}

}  // namespace exo::app
