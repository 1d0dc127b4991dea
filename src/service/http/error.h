// Why a request is refused, before any dialect gives it a shape. Every dialect renders these in its
// own way (Dialect::render); the status says who is to blame.
#pragma once

#include <expected>
#include <string>

#include "base/result.h"

namespace exo::service {

struct ApiError {
  unsigned status = 400;
  std::string message;
  std::string param;         // the field that is wrong; empty: none
  std::string code;          // machine-readable; empty: none
  uint32_t retry_after = 0;  // seconds, of a 429; 0: as the status says
};

template <class T = void>
using Parsed = std::expected<T, ApiError>;

}  // namespace exo::service
