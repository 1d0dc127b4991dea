// Manual pages, made from the same tree of commands as the help texts.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "base/result.h"

namespace exo::app {

// Text by file name: "exo.1", "exo-run.1", "exo-key-add.1", …, in man's own language (roff).
std::map<std::string, std::string> ManPages(const CLI::App& app);
// Writes them into a folder and says how many. Errors: kIo.
Result<void> RunMan(const CLI::App& app, const std::string& folder);

}  // namespace exo::app
