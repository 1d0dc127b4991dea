// What to say about a command line that CLI11 did not take: help where that was asked for, else one
// line that names the mistake, what was probably meant, and where help is.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"

namespace exo::app {

struct Usage {
  bool wrong = false;  // false: `text` is the help or version that was asked for
  std::string text;    // of a mistake: one line, without line end
};
Usage ExplainParse(const CLI::App& app, const CLI::ParseError& error);

// Prints the help of a command; empty: of all. Errors: kInvalid, there is none of this name.
Result<void> RunHelp(const CLI::App& app, const std::string& command);

}  // namespace exo::app
