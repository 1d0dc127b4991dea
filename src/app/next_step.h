// `exo` alone: what to do next, by the state that it finds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct HomeState {
  bool node_runs = false;
  uint16_t api_port = 0;
  std::string name;                  // of this device
  size_t others = 0;                 // further devices of the cluster that are here
  size_t strangers = 0;              // devices of other clusters nearby
  std::vector<std::string> pending;  // names of devices that ask to be let in
  std::vector<std::string> models;   // names of those that can be run
  std::vector<std::string> running;
};

// A few lines: what is there, and the commands that lead on.
std::string NextSteps(const HomeState& state);

// Prints the next steps. Errors: those of the node's API but that none runs, which is a state.
Result<void> RunNextStep(const Settings& settings);

}  // namespace exo::app
