// Child processes and signals of this program.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace exo::sys {

// A child that dies with its parent and whose output goes to a file.
class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;    // [0] is the program's path
    std::vector<std::string> environment;  // "NAME=value", added to this process's own
    std::string output;                    // stdout and stderr are appended here
  };
  static Result<std::unique_ptr<ChildProcess>> Start(const Options& options);
  // Kills and reaps a child that still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // True once the child has ended.
  bool Ended();
  // SIGTERM, then SIGKILL after `patience`. Returns when the child is reaped.
  void Stop(Time patience);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  bool reaped_ = false;
};

// The path of the running program. Errors: kIo.
Result<std::string> OwnPath();

// A descriptor that becomes readable when SIGINT or SIGTERM arrives; from now on these signals do
// nothing else. Call before other threads start.
Result<int> StopSignals();
// True when the descriptor of StopSignals has something (waits up to `timeout`).
bool WaitReadable(int fd, Time timeout);

// An eventfd: Notify from any thread makes it readable, Drain makes it quiet again.
class WakeFd {
 public:
  WakeFd();
  ~WakeFd();
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  int fd() const { return fd_; }
  void Notify();
  void Drain();

 private:
  int fd_;
};

}  // namespace exo::sys
