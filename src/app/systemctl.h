// The service manager of this machine or of one user, asked through its program `systemctl`.
//
// Thread: any; calls block until systemd has answered.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace exo::app {

class Systemctl {
 public:
  // `system`: the machine's manager; else that of the user who asks.
  explicit Systemctl(bool system) : system_(system) {}

  bool system() const { return system_; }
  const char* Whose() const { return system_ ? "system" : "user"; }
  // A program of systemd as people call it for this manager: "journalctl --user".
  std::string Typed(const std::string& program) const;
  // Where units that people write are, and the data folder of exo's.
  std::string UnitPath() const;
  std::string DataFolder() const;

  // What `systemctl ARGUMENTS` prints. Errors: kUnsupported (no systemd here), kIo with its words.
  Result<std::string> Call(std::vector<std::string> arguments) const;
  // Asks whether it answers at all, before anything is changed. Errors: kUnsupported.
  Result<void> Probe() const;
  // Properties of exo's unit, by name; LoadState says whether there is one.
  Result<std::map<std::string, std::string>> Show() const;
  bool IsActive() const;

 private:
  bool system_;
};

}  // namespace exo::app
