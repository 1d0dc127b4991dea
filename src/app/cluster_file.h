// A cluster that somebody describes, as "what if I buy ...": devices and links as numbers in TOML.
//
//   [network]                  # of every link that is not listed; optional
//   rtt_ms = 0.4               # there and back, with everything that a small frame passes
//   rtt_p99_ms = 1.2           # 99 of 100 take no longer; optional
//   mbps = 940                 # optional
//   [[device]]
//   name = "desk"
//   memory = "16 GiB"          # for models: text with a unit, or bytes
//   decode_gbps = 30           # as `exo devices` shows them
//   prefill_gops = 400
//   disk_gbps = 2              # optional: layers that no memory holds are read from its disk
//   guest = false              # optional
//   [[link]]
//   between = ["desk", "laptop"]
//   rtt_ms = 2
//   mbps = 100                 # optional
//   mbps_back = 40             # from the second to the first, where that differs; optional
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/planner.h"

namespace exo::app {

// `origin` names the text in errors. Errors: kInvalid with line, key, value and what it should be.
Result<std::vector<cluster::PlanNode>> ParseCluster(const std::string& text,
                                                    const std::string& origin);

}  // namespace exo::app
