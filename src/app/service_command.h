// exo service install, uninstall, status: `exo up` as a service of systemd, for the user who asks
// or for the whole machine.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct ServiceOptions {
  bool system = false;  // for the whole machine; else for this user
  bool print = false;   // the unit, without installing it
  bool json = false;
  std::string program;  // the exo that the service starts; empty: this one
};

// Writes the unit, starts the service and has it start by itself from now on. What `settings` has
// of the environment does not reach it, which is told. Errors: kUnsupported (systemd does not run
// or does not answer here), kOverloaded (another exo has the data folder), kInvalid (UnitText),
// kIo.
Result<void> RunServiceInstall(const Settings& settings, const ServiceOptions& options);
// Stops the service and removes the unit; the data stay. Errors: kNotFound (there is none),
// kUnsupported, kIo.
Result<void> RunServiceUninstall(const Settings&, const ServiceOptions& options);
// Both services, this user's and the machine's. Errors: kUnsupported.
Result<void> RunServiceStatus(const Settings&, const ServiceOptions& options);

}  // namespace exo::app
