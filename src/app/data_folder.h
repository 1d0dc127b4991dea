// A node's data folder: its lock, and the note that tells other commands of this machine where the
// node that runs on it listens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "sys/files.h"

namespace exo::app {

struct RunningNode {
  std::string folder;  // its data folder
  int64_t pid = 0;
  uint64_t began = 0;  // sys::ProcessStart of it; 0: not told
  uint16_t api_port = 0;
  uint16_t port = 0;
  bool listens = false;  // `listen` is set: other machines reach it
};

// Makes and locks the folder. Errors: kOverloaded saying which process holds it.
Result<std::unique_ptr<sys::FileLock>> LockDataFolder(const std::string& folder);
// A service leaves the note in its runtime folder too, where all users of the machine may read it.
Result<void> WriteRunningNode(const RunningNode& node);
void ForgetRunningNode(const std::string& folder);
// The node that runs on a folder. Errors: kDisconnected when none does (also when the note is
// stale).
Result<RunningNode> FindRunningNode(const std::string& folder);
// The node that commands ask: that of this user's data folder, else, where EXO_HOME names no other
// folder, the system's service (exo service install --system). Errors: those of FindRunningNode.
Result<RunningNode> FindNodeToAsk();

}  // namespace exo::app
