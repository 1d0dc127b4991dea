#include "app/data_folder.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/output.h"
#include "app/unit_file.h"
#include "sys/process.h"
#include "sys/service_manager.h"
#include "sys/system.h"

namespace exo::app {
namespace {

std::string NotePath(const std::string& folder) {
  return folder + "/node.json";
}

// What a note says, if the node that left it still runs.
std::optional<RunningNode> ReadNote(const std::string& path, const std::string& folder) {
  const auto text = sys::ReadPlainFile(path, 4096);
  if (!text) return std::nullopt;
  const auto note = nlohmann::json::parse(*text, nullptr, false);
  if (!note.is_object()) return std::nullopt;
  RunningNode node{.folder = folder,
                   .pid = note.value("pid", int64_t{0}),
                   .began = note.value("began", uint64_t{0}),
                   .api_port = note.value("api_port", uint16_t{0}),
                   .port = note.value("port", uint16_t{0}),
                   .listens = note.value("listens", false)};
  if (!sys::ProcessExists(node.pid)) return std::nullopt;
  // After a crash another program may have its number, and its port: it must not get the token.
  const uint64_t began = sys::ProcessStart(node.pid);
  if (node.began != 0 && began != 0 && node.began != began) return std::nullopt;
  return node;
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

Result<void> WriteRunningNode(const RunningNode& node) {
  const nlohmann::json note = {{"pid", node.pid},
                               {"began", sys::ProcessStart(node.pid)},
                               {"api_port", node.api_port},
                               {"port", node.port},
                               {"listens", node.listens}};
  const std::string text = ToText(note) + "\n";
  if (const std::string shared = sys::ServiceRuntimeFolder(); !shared.empty())
    TRY(sys::WriteFileAtomically(NotePath(shared), text, 0644));
  return sys::WriteFileAtomically(NotePath(node.folder), text, 0600);
}

void ForgetRunningNode(const std::string& folder) {
  (void)sys::RemoveFile(NotePath(folder));  // the runtime folder of a service ends with it
}

Result<RunningNode> FindRunningNode(const std::string& folder) {
  if (auto node = ReadNote(NotePath(folder), folder)) return *std::move(node);
  return Fail(ErrorCode::kDisconnected,
              "no exo node runs on this machine (data folder {}); start one with: exo up", folder);
}

Result<RunningNode> FindNodeToAsk() {
  auto own = FindRunningNode(sys::DataFolder());
  if (own || std::getenv("EXO_HOME") != nullptr) return own;
  auto service = ReadNote(NotePath(kSystemRuntimeFolder), kSystemDataFolder);
  return service ? *std::move(service) : std::move(own);
}

}  // namespace exo::app
