#include "app/service_command.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/data_folder.h"
#include "app/output.h"
#include "app/settings.h"
#include "app/systemctl.h"
#include "app/terminal.h"
#include "app/unit_file.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/service_manager.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

Result<UnitOptions> UnitOptionsFor(const ServiceOptions& options) {
  UnitOptions unit{.program = options.program, .system = options.system};
  if (unit.program.empty()) unit.program = TRY(sys::OwnPath());
  const std::string folder = sys::DataFolder();
  if (!options.system && folder != sys::HomeFolder() + "/.local/share/exo")
    unit.data_folder = folder;
  return unit;
}

// The unit that a package brought for the same program, which then needs no copy.
bool IsShipped(const UnitOptions& options, const std::string& text) {
  const size_t bin = options.program.rfind("/bin/");
  if (bin == std::string::npos) return false;
  const std::string shipped = fmt::format("{}/lib/systemd/{}/{}", options.program.substr(0, bin),
                                          options.system ? "system" : "user", kUnitName);
  return sys::ReadPlainFile(shipped, 1 << 16).value_or("") == text;
}

Result<void> MayChange(const Systemctl& manager, const char* command) {
  if (manager.system() && !sys::IsRoot()) {
    return Fail(ErrorCode::kInvalid,
                "a service of the whole machine is changed by root: sudo exo service {} --system",
                command);
  }
  return manager.Probe();
}

// One that somebody started by hand holds the folder and the ports.
Result<void> FolderIsFree(const Systemctl& manager) {
  const auto running = FindRunningNode(manager.DataFolder());
  if (!running || manager.IsActive()) return {};
  return Fail(ErrorCode::kOverloaded,
              "exo runs already on {} (process {}): stop it first (Ctrl-C where it runs), then "
              "install the service",
              manager.DataFolder(), running->pid);
}

Result<void> StartUnit(const Systemctl& manager) {
  TRY(manager.Call({"daemon-reload"}));
  TRY(manager.Call({"enable", kUnitName}));
  if (const auto started = manager.Call({"restart", kUnitName}); !started) {
    return Fail(started.error().code, "{}; {} -u exo says why", started.error().message,
                manager.Typed("journalctl"));
  }
  return {};
}

// What this shell sets reaches no service.
void TellUnseenSettings(const Settings& settings, const Systemctl& manager) {
  for (const auto& [key, origin] : settings.origins) {
    if (!origin.starts_with("EXO_")) continue;
    Note("exo: the service does not see {} of this shell; set {} in {}/exo.toml\n", origin, key,
         Printable(manager.DataFolder()));
  }
}

void TellInstalled(const Systemctl& manager, const std::string& written) {
  if (written.empty()) {
    Print("the {} service is started, and starts by itself from now on\n", manager.Whose());
  } else {
    Print("installed {}: exo is started, and starts by itself from now on\n", Printable(written));
  }
  if (!manager.system())
    Print("  from the start of the machine on, without a login: loginctl enable-linger\n");
  Print("  data and settings: {}\n", Printable(manager.DataFolder()));
  Print("  its log:           {} -u exo\n", manager.Typed("journalctl"));
  Print("  to undo this:      {}exo service uninstall{}\n", manager.system() ? "sudo " : "",
        manager.system() ? " --system" : "");
}

// One line of `exo service status`, and its JSON.
struct ServiceView {
  std::string text;
  json value;
};
ServiceView ViewOf(const Systemctl& manager) {
  auto shown = manager.Show();
  if (!shown) {
    return {fmt::format("unknown: {}", shown.error().message),
            {{"state", "unknown"}, {"error", shown.error().message}}};
  }
  auto& unit = *shown;
  if (unit["LoadState"] != "loaded") return {"not installed", {{"state", "not installed"}}};
  const bool enabled = unit["UnitFileState"] == "enabled";
  const std::string process =
      unit["MainPID"].empty() || unit["MainPID"] == "0" ? "" : ", process " + unit["MainPID"];
  return {
      fmt::format("{} ({}){}, {}; {}", unit["ActiveState"], unit["SubState"], process,
                  enabled ? "starts by itself" : "does not start by itself", unit["FragmentPath"]),
      {{"state", unit["ActiveState"]},
       {"detail", unit["SubState"]},
       {"process", std::strtoll(unit["MainPID"].c_str(), nullptr, 10)},
       {"enabled", enabled},
       {"unit", unit["FragmentPath"]}}};
}

}  // namespace

Result<void> RunServiceInstall(const Settings& settings, const ServiceOptions& options) {
  const UnitOptions unit = TRY(UnitOptionsFor(options));
  const std::string text = TRY(UnitText(unit));
  if (options.print) {
    if (options.json) {
      PrintJson({{"service", Systemctl(options.system).Whose()}, {"text", text}});
    } else {
      Write(text);
    }
    return {};
  }
  if (!sys::Exists(unit.program))
    return Fail(ErrorCode::kNotFound, "there is no program {}", unit.program);
  const Systemctl manager(options.system);
  TRY(MayChange(manager, "install"));
  TRY(FolderIsFree(manager));
  const std::string path = manager.UnitPath();
  const bool shipped = IsShipped(unit, text);
  if (!shipped) {
    TRY(sys::MakeFolders(path.substr(0, path.rfind('/')), 0755));
    TRY(sys::WriteFileAtomically(path, text, 0644));
  }
  TellUnseenSettings(settings, manager);
  TRY(StartUnit(manager));
  if (options.json) {
    PrintJson({{"service", manager.Whose()}, {"unit", shipped ? "" : path}, {"started", true}});
  } else {
    TellInstalled(manager, shipped ? "" : path);
  }
  return {};
}

Result<void> RunServiceUninstall(const Settings&, const ServiceOptions& options) {
  const Systemctl manager(options.system);
  TRY(MayChange(manager, "uninstall"));
  auto unit = TRY(manager.Show());
  const std::string path = manager.UnitPath();
  if (unit["LoadState"] != "loaded" && !sys::NameExists(path)) {
    return Fail(ErrorCode::kNotFound, "there is no {} service of exo here; exo service status",
                manager.Whose());
  }
  if (unit["LoadState"] == "loaded") TRY(manager.Call({"disable", "--now", kUnitName}));
  const bool own = sys::NameExists(path);
  if (own) TRY(sys::RemoveFile(path));
  TRY(manager.Call({"daemon-reload"}));
  if (options.json) {
    PrintJson({{"service", manager.Whose()}, {"removed", own ? path : ""}, {"stopped", true}});
    return {};
  }
  Print("the {} service is stopped and does not start any more{}\n", manager.Whose(),
        own ? "; removed " + Printable(path) : "");
  Print("  models, keys and settings stay in {}\n", Printable(manager.DataFolder()));
  return {};
}

Result<void> RunServiceStatus(const Settings&, const ServiceOptions& options) {
  const Systemctl user(false), system(true);
  const auto user_answers = user.Probe(), system_answers = system.Probe();
  if (!user_answers && !system_answers) return std::unexpected(system_answers.error());
  const ServiceView users = ViewOf(user), systems = ViewOf(system);
  if (options.json) {
    PrintJson({{"user", users.value}, {"system", systems.value}});
  } else {
    Write(Table({{"SERVICE", "STATE"}, {"user", users.text}, {"system", systems.text}}));
  }
  return {};
}

}  // namespace exo::app
