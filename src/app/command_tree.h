// The commands of the program as plain data, for what is made from them: completions and manual
// pages. Hidden commands and options are left out.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace exo::app {

struct OptionInfo {
  std::vector<std::string> names;    // "--quiet", "-q"; of an argument one word: "MODEL"
  bool takes_value = false;          // an argument always does
  std::vector<std::string> choices;  // the values that it takes, where they are few
  bool required = false;
  std::string what;
};

struct CommandInfo {
  std::vector<std::string> path;  // {} for the program itself, {"key", "add"}
  std::vector<std::string> aliases;
  std::string what;
  std::vector<OptionInfo> options;    // without those of the program itself
  std::vector<OptionInfo> arguments;  // by place
  std::string Name() const;           // "exo key add"
};

// The program first, then its commands, each before its own ones.
std::vector<CommandInfo> DescribeCommands(const CLI::App& app);

// What completes the value of an option or an argument.
enum class ValueKind { kNone, kModel, kDevice, kFile, kFolder, kShell };
ValueKind KindOf(const OptionInfo& option);

}  // namespace exo::app
