// How long a model stays in memory when nobody asks it (`keep_alive`, as Ollama names it).
#pragma once

#include <optional>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// As node::Placing has it: a number of seconds, or a time as "5m"; below zero: until the memory is
// needed; 0: until nobody waits for an answer. Nothing where the field is absent. Errors: 400.
Parsed<std::optional<uint64_t>> ReadKeepAlive(const Json& body);

}  // namespace exo::service
