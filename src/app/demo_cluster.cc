#include "app/demo_cluster.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/data_folder.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/stop_guard.h"
#include "base/text.h"
#include "net/secret.h"
#include "service/api_keys.h"
#include "sys/files.h"
#include "sys/system.h"
#include "sys/temporary_folder.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr Time kStartLimit = std::chrono::seconds(60);
constexpr Time kPoll = std::chrono::milliseconds(25);
// A node ends itself within StopGuard::kPatience.
constexpr Time kStopPatience = StopGuard::kPatience + std::chrono::milliseconds(150);

unsigned AliveNodes(const json& cluster) {
  unsigned alive = 0;
  for (const json& node : cluster.value("nodes", json::array())) {
    const std::string state = node.value("state", "");
    if (state == "self" || state == "alive") ++alive;
  }
  return alive;
}

}  // namespace

Result<std::unique_ptr<DemoCluster>> DemoCluster::Start(const Settings& settings,
                                                        const Options& options) {
  std::unique_ptr<DemoCluster> cluster(new DemoCluster());
  cluster->folder_ = TRY(sys::TemporaryFolder::Create("exo-demo"));
  const std::string secret = net::ClusterSecret::Create()->Text();
  const Time start = sys::Now();
  for (unsigned i = 0; i < options.nodes; ++i) {
    TRY(cluster->StartNode(settings, options, i, secret));
  };
  TRY(cluster->WaitForAll(options));
  cluster->seconds_ = std::chrono::duration<double>(sys::Now() - start).count();
  return cluster;
}

DemoCluster::~DemoCluster() {
  const Time end = sys::Now() + kStopPatience;
  for (const auto& node : nodes_) node->AskToStop();
  for (const auto& node : nodes_) node->Stop(std::max(Time(1), end - sys::Now()));
}

Result<void> DemoCluster::StartNode(const Settings& settings, const Options& options,
                                    unsigned index, const std::string& secret) {
  const std::string home = fmt::format("{}/node-{}", folder_->path(), index + 1);
  TRY(sys::MakeFolders(home));
  sys::ChildProcess::Options child;
  child.arguments = {TRY(sys::OwnPath()),
                     "up",
                     "--loopback",
                     "--name",
                     fmt::format("node-{}", index + 1),
                     "--port",
                     "0",
                     "--api-port",
                     "0",
                     "--threads",
                     fmt::format("{}", options.threads)};
  child.arguments.insert(child.arguments.end(), options.node_arguments.begin(),
                         options.node_arguments.end());
  std::string models;
  for (const std::string& model_folder : ModelFolders(settings))
    models += (models.empty() ? "" : ":") + model_folder;
  // These nodes meet each other and nobody else, whatever the user's own node is told.
  child.environment = {"EXO_HOME=" + home,     "EXO_CLUSTER_SECRET=" + secret,
                       "EXO_MODELS=" + models, "EXO_ISA=" + settings.isa,
                       "EXO_PEERS=",           "EXO_DISCOVERY=",
                       "EXO_LISTEN=",          "NO_COLOR=1"};
  child.output = home + "/log";
  nodes_.push_back(TRY(sys::ChildProcess::Start(child)));
  return {};
}

Result<void> DemoCluster::WaitForAll(const Options& options) {
  const Time end = sys::Now() + kStartLimit;
  std::vector<std::unique_ptr<HttpClient>> apis(nodes_.size());
  for (;;) {
    bool all = true;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i]->Ended()) {
        ShowLogs();
        return Fail(ErrorCode::kIo, "node-{} ended while starting", i + 1);
      }
      if (apis[i] == nullptr) {
        const std::string home = fmt::format("{}/node-{}", folder_->path(), i + 1);
        const auto running = FindRunningNode(home);
        if (running && running->pid == nodes_[i]->pid()) {
          apis[i] = std::make_unique<HttpClient>(
              running->api_port, service::ReadAdminToken(home).value_or(""), options.stop_fd);
        }
      }
      const auto view = apis[i] == nullptr ? Fail(ErrorCode::kDisconnected, "not yet")
                                           : apis[i]->Get("/v1/cluster");
      if (!view || AliveNodes(*view) < nodes_.size()) all = false;
    }
    if (all) break;
    if (sys::Now() > end) {
      ShowLogs();
      return Fail(ErrorCode::kDisconnected, "the nodes did not find each other in {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(kStartLimit).count());
    }
    if (sys::WaitReadable(options.stop_fd, kPoll)) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
  }
  api_ = std::move(apis[0]);
  return {};
}

void DemoCluster::ShowLogs() const {
  constexpr size_t kTail = 1000;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto log =
        sys::ReadFile(fmt::format("{}/node-{}/log", folder_->path(), i + 1), 16u << 20);
    if (!log) continue;
    const std::string tail = log->substr(log->size() > kTail ? log->size() - kTail : 0);
    Note("node-{}: {}\n", i + 1, Printable(tail, "\n"));
  }
}

}  // namespace exo::app
