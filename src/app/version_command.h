// exo --version: what this program is and what it can talk to.
#pragma once

#include <string>

namespace exo::app {

// Version, protocol, numerics id, compiler and the instruction set used here: lines for people, or
// one JSON object. Runs every operation of the kernels once, about 10 ms, for the numerics id.
std::string VersionText(bool as_json);

}  // namespace exo::app
