// `exo launch TOOL`: starts another program so that it asks this cluster, by variables and options
// of its own; or writes the same into its settings, and takes it back.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct LaunchOptions {
  std::string tool;
  std::vector<std::string> arguments;  // of the program
  std::string model;                   // empty: the one that runs, or the only one
  bool print = false;
  bool config = false;
  bool restore = false;
  bool json = false;  // of these three
};

struct LaunchModel {
  std::string name;
  uint32_t context = 0;  // tokens; 0: not known
};

// How a tool is told where to ask.
struct LaunchPlan {
  std::string program;
  std::string install = {};                                    // how it comes onto this machine
  std::vector<std::string> arguments;                          // in front of the user's own
  std::vector<std::pair<std::string, std::string>> variables;  // added to the environment
  std::string note;  // what the user should know; empty: nothing
  // Its settings in the home folder, JSON or TOML (by the name), and what belongs into them; empty:
  // it has none that say this.
  std::string file;
  nlohmann::json settings = {};
};
// What a shell takes to start it so: the variables and the program, with `words` behind it.
std::string LaunchText(const LaunchPlan& plan, const std::vector<std::string>& words);
// Errors: kInvalid for a tool that is not known.
Result<LaunchPlan> PlanLaunch(const std::string& tool, const LaunchModel& model, uint16_t port);

// The text of a settings file with `added` in it: objects are merged, other values replaced.
// Errors: kCorrupt when `text` is not of its kind.
Result<std::string> MergeSettings(const std::string& file, const std::string& text,
                                  const nlohmann::json& added);

// Does not return when it starts the program. Errors: kNotFound (the program or model), kInvalid,
// kIo, those of the node.
Result<void> RunLaunch(const Settings& settings, const LaunchOptions& options);

}  // namespace exo::app
