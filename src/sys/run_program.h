// Runs another program to its end and keeps what it says.
//
// Thread: any; blocks.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace exo::sys {

struct ProgramEnd {
  int exit_code = 0;   // 128 + its number for a program that a signal ended
  std::string output;  // of standard output and error, in the order of writing
};

// `arguments[0]` is a path, or a name that is looked for in PATH. Standard input is empty. A
// program that is not done after `patience` is killed, and one that writes more than 1 MiB too.
// Errors: kNotFound (no such program), kIo.
Result<ProgramEnd> RunProgram(const std::vector<std::string>& arguments, Time patience);

}  // namespace exo::sys
