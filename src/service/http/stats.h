// What a server counts, for its metrics. Thread: the event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "service/http/body_budget.h"

namespace exo::service {

struct HttpStats {
  size_t connections = 0;  // open now
  uint64_t requests = 0;   // answered or begun, since the start
  std::shared_ptr<BodyBudget> bodies;
};

}  // namespace exo::service
