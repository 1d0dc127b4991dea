// llama-server's `timings` object, which several dialects send.
#pragma once

#include "node/api.h"
#include "service/json.h"

namespace exo::service {

Json TimingsJson(const node::GenerateStats& stats);

}  // namespace exo::service
