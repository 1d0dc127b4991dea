// `exo secret`, and `exo join` without a code: the cluster secret on this device's disk.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct SecretOptions {
  bool make_new = false;  // print a fresh secret, store nothing
  bool rotate = false;    // have the running node replace the cluster's
  std::string file;       // join: read from here instead of the prompt
  bool json = false;
};
// Prints the secret in use: of the running node, else what `exo up` would use. Makes one first when
// there is none.
Result<void> RunSecret(const Settings& settings, const SecretOptions& options);
// Replaces this device's secret. Errors: kInvalid (mistyped), kOverloaded (a node runs: stop it
// first).
Result<void> RunJoin(const Settings& settings, const SecretOptions& options);

}  // namespace exo::app
