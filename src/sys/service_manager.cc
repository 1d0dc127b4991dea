#include "sys/service_manager.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>

namespace exo::sys {

void TellServiceReady(const std::string& status) {
  // A manager that cannot be reached ends a service that never got ready: nothing to do here.
  (void)::sd_notify(0, fmt::format("READY=1\nSTATUS={}", status).c_str());
}

void TellServiceStopping() {
  (void)::sd_notify(0, "STOPPING=1");
}

std::string ServiceRuntimeFolder() {
  const char* folder = std::getenv("RUNTIME_DIRECTORY");
  return folder == nullptr ? "" : folder;
}

bool IsRoot() {
  return ::geteuid() == 0;
}

}  // namespace exo::sys
