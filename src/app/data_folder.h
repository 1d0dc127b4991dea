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
  int64_t pid = 0;
  uint16_t api_port = 0;
  uint16_t port = 0;
  bool listens = false;  // `listen` is set: other machines reach it
};

// Makes and locks the folder. Errors: kOverloaded saying which process holds it.
Result<std::unique_ptr<sys::FileLock>> LockDataFolder(const std::string& folder);
Result<void> WriteRunningNode(const std::string& folder, const RunningNode& node);
void ForgetRunningNode(const std::string& folder);
// The node that runs on a folder. Errors: kDisconnected when none does (also when the note is
// stale).
Result<RunningNode> FindRunningNode(const std::string& folder);

}  // namespace exo::app
