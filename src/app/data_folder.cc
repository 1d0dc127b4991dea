#include "app/data_folder.h"

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "sys/process.h"

namespace exo::app {
namespace {

std::string NotePath(const std::string& folder) {
  return folder + "/node.json";
}

}  // namespace

Result<std::unique_ptr<sys::FileLock>> LockDataFolder(const std::string& folder) {
  TRY(sys::MakeFolders(folder));
  auto lock = sys::FileLock::Acquire(folder + "/lock", fmt::format("{}", sys::ProcessId()));
  if (!lock && lock.error().code == ErrorCode::kOverloaded) {
    return Fail(ErrorCode::kOverloaded,
                "another exo (process {}) runs on the data folder {}; stop it first, or give this "
                "one a folder of "
                "its own with EXO_HOME",
                lock.error().message.empty() ? "unknown" : lock.error().message, folder);
  }
  return lock;
}

Result<void> WriteRunningNode(const std::string& folder, const RunningNode& node) {
  const nlohmann::json note = {{"pid", node.pid},
                               {"api_port", node.api_port},
                               {"port", node.port},
                               {"listens", node.listens}};
  return sys::WriteFileAtomically(NotePath(folder), ToText(note) + "\n", 0600);
}

void ForgetRunningNode(const std::string& folder) {
  (void)sys::RemoveFile(NotePath(folder));
}

Result<RunningNode> FindRunningNode(const std::string& folder) {
  const auto none = [&] {
    return Fail(ErrorCode::kDisconnected,
                "no exo node runs on this machine (data folder {}); start one with: exo up",
                folder);
  };
  const auto text = sys::ReadPlainFile(NotePath(folder), 4096);
  if (!text) return none();
  const auto note = nlohmann::json::parse(*text, nullptr, false);
  if (!note.is_object()) return none();
  RunningNode node;
  node.pid = note.value("pid", int64_t{0});
  node.api_port = note.value("api_port", uint16_t{0});
  node.port = note.value("port", uint16_t{0});
  node.listens = note.value("listens", false);
  if (!sys::ProcessExists(node.pid)) return none();
  return node;
}

}  // namespace exo::app
