// `exo up`: a node and its HTTP API until SIGINT, SIGTERM or SIGHUP.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// Prints where it listens. Returns after a clean stop; a stop that takes longer than a moment, and
// a second signal, end the process at once.
Result<void> RunUp(const Settings& settings);

}  // namespace exo::app
