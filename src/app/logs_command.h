// `exo logs`: the lines that the node has logged.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct LogsOptions {
  bool follow = false;  // further ones, too, until Ctrl-C
  bool json = false;    // each as a JSON object
};
// Errors: those of the node.
Result<void> RunLogs(const Settings& settings, const LogsOptions& options);

}  // namespace exo::app
