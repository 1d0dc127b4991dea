#include "app/secret_commands.h"

#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/data_folder.h"
#include "app/output.h"
#include "net/secret.h"
#include "sys/files.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// The running node's: the cluster may have made a new one since it was started.
Result<std::string> SecretInUse(const Settings& settings) {
  if (FindNodeToAsk()) {
    const nlohmann::json answer = TRY(TRY(OwnNode(settings)).Get("/v1/internal/secret"));
    return answer.value("secret", "");
  }
  if (!settings.cluster_secret.empty())
    return TRY(net::ClusterSecret::Parse(settings.cluster_secret))->Text();
  const std::string folder = sys::DataFolder();
  TRY(sys::MakeFolders(folder));
  return TRY(net::ClusterSecret::LoadOrCreate(folder))->Text();
}

void PrintSecret(const std::string& secret, bool as_json) {
  if (as_json) return PrintJson({{"secret", secret}});
  Print("{}\n", secret);
}

}  // namespace

Result<void> RunSecret(const Settings& settings, const SecretOptions& options) {
  if (options.make_new) {
    PrintSecret(net::ClusterSecret::Create()->Text(), options.json);
    return {};
  }
  if (options.rotate)
    TRY(TRY(OwnNode(settings)).Post("/v1/internal/rotate-secret", nlohmann::json::object()));
  const std::string secret = TRY(SecretInUse(settings));
  PrintSecret(secret, options.json);
  if (settings.cluster_secret.empty()) return {};
  const auto given = net::ClusterSecret::Parse(settings.cluster_secret);
  if (!given || (*given)->Text() != secret) {
    Note("exo: the node that runs here uses this one; {} says another\n",
         settings.origins.at("cluster_secret"));
  }
  return {};
}

Result<void> RunJoin(const Settings& settings, const SecretOptions& options) {
  // A running node would go on with the old secret.
  const auto lock = TRY(LockDataFolder(sys::DataFolder()));
  const std::string text =
      options.file.empty()
          ? TRY(sys::ReadHiddenLine("secret of the cluster (exo secret shows it there): "))
          : TRY(sys::ReadFile(options.file, 4096));
  TRY(net::ClusterSecret::Replace(sys::DataFolder(), text));
  if (options.json) {
    PrintJson({{"joined", true}});
  } else {
    Print("joined; start this device with: exo up\n");
  }
  if (!settings.cluster_secret.empty()) {
    Note("exo: {} is set and takes precedence over the secret just stored\n",
         settings.origins.at("cluster_secret"));
  }
  return {};
}

}  // namespace exo::app
