// `exo trace ID`: where the time of one request went, span by span.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct TraceOptions {
  std::string id;      // the first digits are enough; empty: the newest
  std::string format;  // empty: text; json, chrome or otlp: as the node writes them
  size_t tokens = 16;  // of which spans are shown
};
// Errors: kNotFound (no such request), kInvalid (several), those of the node.
Result<void> RunTrace(const Settings& settings, const TraceOptions& options);

// A picture of a trace: a line for each span, with a bar where it lies between the first and the
// last one that is shown.
std::string TraceText(const nlohmann::json& trace, size_t tokens, size_t columns);

}  // namespace exo::app
