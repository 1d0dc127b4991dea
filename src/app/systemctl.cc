#include "app/systemctl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "app/unit_file.h"
#include "sys/run_program.h"
#include "sys/service_manager.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// systemd itself waits 90 s for a service to serve.
constexpr Time kPatienceWithSystemd = std::chrono::seconds(100);

// Where programs of this user have their settings.
std::string ConfigFolder() {
  const char* folder = std::getenv("XDG_CONFIG_HOME");
  return folder != nullptr && *folder != 0 ? folder : sys::HomeFolder() + "/.config";
}

}  // namespace

std::string Systemctl::Typed(const std::string& program) const {
  return system_ ? "sudo " + program : program + " --user";
}

std::string Systemctl::UnitPath() const {
  if (system_) return fmt::format("/etc/systemd/system/{}", kUnitName);
  return fmt::format("{}/systemd/user/{}", ConfigFolder(), kUnitName);
}

std::string Systemctl::DataFolder() const {
  return system_ ? kSystemDataFolder : sys::DataFolder();
}

Result<std::string> Systemctl::Call(std::vector<std::string> arguments) const {
  const std::string what = arguments[0];
  arguments.insert(arguments.begin(), {"systemctl", system_ ? "--system" : "--user"});
  const auto end = sys::RunProgram(arguments, kPatienceWithSystemd);
  if (!end && end.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kUnsupported,
                "there is no systemd on this machine (no systemctl in PATH); have `exo up` started "
                "by what starts services here");
  }
  if (!end) return std::unexpected(end.error());
  if (end->exit_code == 0) return end->output;
  return Fail(ErrorCode::kIo, "systemctl {}: {}", what,
              end->output.substr(0, end->output.find('\n')));
}

Result<void> Systemctl::Probe() const {
  const auto answer = Call({"show", "--property=Version"});
  if (answer) return {};
  if (answer.error().code == ErrorCode::kUnsupported) return std::unexpected(answer.error());
  return Fail(ErrorCode::kUnsupported,
              "systemd does not answer here ({}); {}have `exo up` started by what starts services "
              "on this machine",
              answer.error().message,
              system_         ? ""
              : sys::IsRoot() ? "for a service of the whole machine add --system, or "
                              : "log in as yourself, without su or sudo, or ");
}

Result<std::map<std::string, std::string>> Systemctl::Show() const {
  const std::string text =
      TRY(Call({"show", kUnitName,
                "--property=LoadState,ActiveState,SubState,UnitFileState,FragmentPath,MainPID"}));
  std::map<std::string, std::string> properties;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const size_t equals = line.find('=');
    if (equals != std::string::npos) properties[line.substr(0, equals)] = line.substr(equals + 1);
    at = end + 1;
  }
  return properties;
}

bool Systemctl::IsActive() const {
  const auto properties = Show();
  return properties && properties->contains("ActiveState") &&
         properties->at("ActiveState") == "active";
}

}  // namespace exo::app
