// Names of requests in tests. For tests only.
#pragma once

#include "base/ids.h"

namespace exo::engine {

inline RequestId Id(uint8_t number) {
  RequestId id;
  id.bytes[0] = number;
  return id;
}

}  // namespace exo::engine
