// What removing a model has done on each device, as JSON of every dialect that tells it.
// Thread: pure, any thread.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/json.h"

namespace exo::service {

// {"ok": on all of them, "devices": [{"device", "ok", "freed_bytes", "said"}]}
Json RemovalsJson(const std::vector<node::RemovalView>& removals);

}  // namespace exo::service
