// The model of requests that name none, as llama-server's clients send them.
//
// Thread: the event loop.
#pragma once

#include <string>

#include "node/api.h"

namespace exo::service {

// What runs, else what this device has, else what there is. Empty: nothing.
std::string DefaultModel(const node::Api& api);

}  // namespace exo::service
