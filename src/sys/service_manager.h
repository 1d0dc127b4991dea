// What the service manager (systemd) that started this process is told, and the folder that it
// keeps for the process. A process that nobody started as a service tells nobody.
//
// Thread: any.
#pragma once

#include <string>

namespace exo::sys {

// The service serves; `status` is a line about it, which `systemctl status` shows.
void TellServiceReady(const std::string& status);
// The service ends of its own will.
void TellServiceStopping();

// Where a service puts what other users of the machine may read while it runs (RuntimeDirectory= of
// its unit); empty for a process that is no service.
std::string ServiceRuntimeFolder();

// True for the user that may install services for the whole machine.
bool IsRoot();

}  // namespace exo::sys
