// `exo top`: devices, models and requests as they are now, and whenever they change.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct TopOptions {
  bool once = false;
  bool json = false;  // a line for each state
};
// Follows the node's stream of events until Ctrl-C, and through restarts of the node; one picture
// where standard output is no terminal. Errors: those of the node before the first picture; of
// standard output.
Result<void> RunTop(const Settings& settings, const TopOptions& options);

}  // namespace exo::app
