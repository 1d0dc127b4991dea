// The systemd unit that keeps `exo up` running, as text. Pure: nothing is written or asked here
// (service_command.h does that).
#pragma once

#include <string>

#include "base/result.h"

namespace exo::app {

inline constexpr char kUnitName[] = "exo.service";
// Of the system's service: its data, and what other users may read while it runs. systemd makes
// both (StateDirectory=, RuntimeDirectory=).
inline constexpr char kSystemDataFolder[] = "/var/lib/exo";
inline constexpr char kSystemRuntimeFolder[] = "/run/exo";

struct UnitOptions {
  std::string program;      // the exo to start, an absolute path
  bool system = false;      // for the machine, with a user of its own; else for the user who asks
  std::string data_folder;  // of a user's service; empty: where exo has it by default
};
// Errors: kInvalid for a path that no unit can name, and for a program that the system's service
// could not see (it has no access to home folders and has a /tmp of its own).
Result<std::string> UnitText(const UnitOptions& options);

}  // namespace exo::app
