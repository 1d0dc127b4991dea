// `exo config`: the settings in effect.
#pragma once

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// A table of key, value and origin, or JSON {key: {value, from, running}}; `running` is another
// value with which a node runs here, and is told on standard error, too.
Result<void> RunConfig(const Settings& settings, bool json);

}  // namespace exo::app
