// Scripts that complete exo's words in a shell. Commands, options and their values are written into
// them; names of models and devices are asked of the node when they are needed.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"

namespace exo::app {

// `shell`: bash, zsh or fish. Errors: kInvalid for another one.
Result<std::string> CompletionScript(const CLI::App& app, const std::string& shell);
// Prints it.
Result<void> RunCompletions(const CLI::App& app, const std::string& shell);

}  // namespace exo::app
