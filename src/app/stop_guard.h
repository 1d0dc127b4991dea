// Ctrl-C that works in every state of a node: a thread of its own waits for the signal, asks the
// event loop to stop, and ends the process when that does not happen in a moment (something hangs
// while starting, loading or hashing) or when a second signal comes. Nothing is lost by that: files
// get their names when they are whole, and SQLite recovers.
//
// Thread: made before all others (it blocks the signals), destroyed on the same thread.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "sys/process.h"

namespace exo::app {

class StopGuard {
 public:
  // A graceful stop says goodbye and joins its threads within this, or is cut short.
  static constexpr Time kPatience = std::chrono::milliseconds(700);

  // `folder`: whose note (app/data_folder.h) is removed before the process is ended.
  static Result<std::unique_ptr<StopGuard>> Start(std::string folder);
  // The graceful stop came to its end.
  ~StopGuard();

  // Readable once a stop is asked for.
  int fd() const { return asked_.fd(); }

 private:
  StopGuard(int stop_fd, std::string folder) : stop_fd_(stop_fd), folder_(std::move(folder)) {}
  void Main();

  const int stop_fd_;
  const std::string folder_;
  sys::WakeFd asked_, finished_;
  std::thread thread_;
};

}  // namespace exo::app
