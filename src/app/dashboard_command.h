// `exo dashboard`: a link that signs one browser in to the page of this machine's node.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct DashboardOptions {
  bool print = false;  // only; no browser is opened
  bool json = false;   // likewise
};

// Prints the link, and opens it in a browser where a person sits in front of this machine.
// Errors: kDisconnected (no node runs).
Result<void> RunDashboard(const Settings& settings, const DashboardOptions& options);

}  // namespace exo::app
