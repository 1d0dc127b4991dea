// Commands about who takes part in the cluster: invite, join, approve, forget, audit. All but audit
// talk to the node of this machine.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct InviteOptions {
  bool guest = false;
  bool json = false;
};
// Shows a code, and links for devices that do not find this one.
Result<void> RunInvite(const Settings& settings, const InviteOptions& options);

struct JoinOptions {
  std::string code;  // six digits or a link
  std::string at;    // HOST:PORT; empty: the inviting device is looked for
  bool ask = false;  // without a code
  bool json = false;
};
// Errors: those of node::Pairing::Join.
Result<void> RunJoinByCode(const Settings& settings, const JoinOptions& options);

struct DeviceOptions {
  std::string device;  // name or first digits of the id
  bool guest = false;
  bool json = false;
};
Result<void> RunApprove(const Settings& settings, const DeviceOptions& options);
Result<void> RunForget(const Settings& settings, const DeviceOptions& options);

// Gives this device a new key, from the next start of exo on.
Result<void> RunRotateKey(const Settings& settings, bool json);

// Prints the audit log of this machine's data folder. Errors: kCorrupt: its chain is broken.
Result<void> RunAudit(const Settings& settings, bool json);

}  // namespace exo::app
