// Threads whose start does not fail: a node without them serves nobody, and half of one hangs.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

namespace exo {

// Ends the program, with a sentence on standard error and exit code 1, where the system gives no
// thread (a limit of processes, as of a user, a service or a container).
template <class Function>
std::thread StartThread(Function&& function) {
  try {
    return std::thread(std::forward<Function>(function));
  } catch (const std::system_error& error) {
    fmt::print(stderr,
               "exo: the system gives no further thread ({}); raise the limit of processes: "
               "ulimit -u of a user, TasksMax of a service, --pids-limit of a container\n",
               error.code().message());
    std::_Exit(1);
  }
}

}  // namespace exo
