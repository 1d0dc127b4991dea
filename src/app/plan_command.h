// `exo plan`: where a model would go and how fast it would be, without loading it: on this node's
// cluster, or on one that a file describes, for which no node needs to run.
#pragma once

#include <cstdint>
#include <string>

#include "app/client_commands.h"
#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct PlanCommandOptions {
  std::string model;
  PlacingOptions placing;
  std::string cluster;  // TOML file (app/cluster_file.h); empty: the running cluster
  bool explain = false;
  bool json = false;
};
// Errors: those of the node or of the planner; kInvalid for a described cluster with what only a
// node can find (adapters, drafts); kNotFound, those of ParseCluster.
Result<void> RunPlan(const Settings& settings, const PlanCommandOptions& options);

}  // namespace exo::app
