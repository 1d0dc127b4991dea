// What the system's login service (systemd-logind, over D-Bus) knows and does: whether somebody
// works at this machine, and keeping it from sleeping. Where there is none, nothing is known and
// the machine sleeps when it wants.
//
// Thread: any. Each call talks to the bus and may take up to two seconds.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace exo::sys {

// While it is there, the system does not go to sleep by itself, nor for a program that asks. A lid
// that is closed and a command that ignores such locks still do it.
class SleepLock {
 public:
  virtual ~SleepLock() = default;
};

class LoginService {
 public:
  virtual ~LoginService() = default;
  // Is a session of the machine's own screen and keyboard in use, and was there input of late, as
  // the desktop counts it? Nothing: no service answers.
  virtual std::optional<bool> SomebodyWorks() const = 0;
  // `why` is shown by the system. Errors: kUnsupported (no such service), kIo (it refuses).
  virtual Result<std::unique_ptr<SleepLock>> KeepAwake(const std::string& why) const = 0;
};

// `bus`: a D-Bus address; empty: the system's.
std::unique_ptr<LoginService> MakeLoginService(std::string bus = "");

}  // namespace exo::sys
