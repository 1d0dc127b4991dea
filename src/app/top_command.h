// `exo top`: devices, models and requests as they are now, again and again.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct TopOptions {
  bool once = false;
  bool json = false;  // a line each time
};
// Until Ctrl-C; once where standard output is no terminal. Errors: those of the node.
Result<void> RunTop(const Settings& settings, const TopOptions& options);

// One look, from the answers of GET /v1/cluster and GET /v1/internal/requests (null: there is
// none).
std::string TopText(const nlohmann::json& cluster, const nlohmann::json& requests, size_t columns);

}  // namespace exo::app
