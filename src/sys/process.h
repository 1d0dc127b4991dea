// Child processes and signals of this program.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
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
  // SIGTERM, once, without waiting for its effect (a second one would cut a node's stop short).
  void AskToStop();
  // SIGTERM, then SIGKILL after `patience`. Returns when the child is reaped.
  void Stop(Time patience);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  bool asked_ = false;
  bool reaped_ = false;
};

// Starts a program of the search path for the user, with this one's environment and without its
// streams, and does not wait for it. Errors: kNotFound (there is no such program), kIo.
Result<void> StartDetached(std::vector<std::string> arguments);

// The path of the running program. Errors: kIo.
Result<std::string> OwnPath();

int64_t ProcessId();
// True when a process of that number exists, whosever it is.
bool ProcessExists(int64_t pid);
// When it began, in clock ticks since the system's start: with its number it is that process, and
// no later one that got the number again. 0: it is not told.
uint64_t ProcessStart(int64_t pid);

// Goes on as another program, looked for on $PATH, with `variables` (name and value) added to the
// environment. Returns only when that failed. Errors: kNotFound (no such program), kIo.
Result<void> BecomeProgram(const std::vector<std::string>& arguments,
                           const std::vector<std::pair<std::string, std::string>>& variables);

// A descriptor that becomes readable when SIGINT, SIGTERM or SIGHUP (a closed terminal) arrives;
// from now on these signals do nothing else. SIGHUP keeps being ignored under nohup. Call before
// other threads start.
Result<int> StopSignals();
// Takes one signal from the descriptor of StopSignals; waits up to `timeout`. False: none came.
bool TakeSignal(int stop_fd, Time timeout);

// True when `fd` is readable, closed or broken within `timeout` (a negative one: no limit).
bool WaitReadable(int fd, Time timeout);
// The place of the first readable, closed or broken descriptor; -1 after `timeout` (negative: no
// limit).
int WaitAnyReadable(std::span<const int> fds, Time timeout = Time(-1));
inline int WaitAnyReadable(std::initializer_list<int> fds, Time timeout = Time(-1)) {
  return WaitAnyReadable(std::span<const int>(fds.begin(), fds.size()), timeout);
}

// An eventfd: Notify from any thread makes it readable, Drain makes it unreadable again.
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
