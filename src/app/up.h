// `exo up`: a node and its HTTP API until SIGINT, SIGTERM or SIGHUP.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// Prints where it listens; with a code or link in `join` it then joins another cluster, and says
// how that went on standard error. Returns after a clean stop; a stop that takes longer than a
// moment, and a second signal, end the process at once.
// `settings` are those of `sources`.
Result<void> RunUp(const Settings& settings, const SettingSources& sources,
                   const std::string& join);

}  // namespace exo::app
