#include "app/demo_cluster.h"

#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/data_folder.h"
#include "app/model_path.h"
#include "net/secret.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr Time kStartLimit = std::chrono::seconds(60);
constexpr Time kPoll = std::chrono::milliseconds(25);
constexpr Time kStopPatience = std::chrono::seconds(4);

unsigned AliveNodes(const json& cluster) {
  unsigned alive = 0;
  for (const json& node : cluster.value("nodes", json::array())) {
    const std::string state = node.value("state", "");
    if (state == "self" || state == "alive") ++alive;
  }
  return alive;
}

}  // namespace

Result<std::unique_ptr<DemoCluster>> DemoCluster::Start(const Options& options) {
  std::unique_ptr<DemoCluster> cluster(new DemoCluster());
  std::string folder = std::filesystem::temp_directory_path() / "exo-demo-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr)
    return Fail(ErrorCode::kIo, "cannot create a folder {}", folder);
  cluster->folder_ = folder;
  const std::string secret = net::ClusterSecret::Create()->Text();
  const Time start = sys::Now();
  for (unsigned i = 0; i < options.nodes; ++i) TRY(cluster->StartNode(options, i, secret));
  TRY(cluster->WaitForAll(options));
  cluster->seconds_ = std::chrono::duration<double>(sys::Now() - start).count();
  return cluster;
}

DemoCluster::~DemoCluster() {
  for (const auto& node : nodes_) ::kill(node->pid(), SIGTERM);
  for (const auto& node : nodes_) node->Stop(kStopPatience);
  nodes_.clear();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

Result<void> DemoCluster::StartNode(const Options& options, unsigned index,
                                    const std::string& secret) {
  const std::string home = fmt::format("{}/node-{}", folder_, index + 1);
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
  for (const std::string& model_folder : ModelFolders())
    models += (models.empty() ? "" : ":") + model_folder;
  child.environment = {"EXO_HOME=" + home, "EXO_CLUSTER_SECRET=" + secret, "EXO_MODELS=" + models,
                       "NO_COLOR=1"};
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
        return Fail(ErrorCode::kIo, "node-{} ended while starting:\n{}", i + 1, Logs());
      }
      if (apis[i] == nullptr) {
        const auto running = FindRunningNode(fmt::format("{}/node-{}", folder_, i + 1));
        if (running && running->pid == nodes_[i]->pid())
          apis[i] = std::make_unique<HttpClient>(running->api_port);
      }
      const auto view = apis[i] == nullptr ? Fail(ErrorCode::kDisconnected, "not yet")
                                           : apis[i]->Get("/v1/cluster");
      if (!view || AliveNodes(*view) < nodes_.size()) all = false;
    }
    if (all) break;
    if (sys::Now() > end) {
      return Fail(ErrorCode::kDisconnected, "the nodes did not find each other in {} s:\n{}",
                  std::chrono::duration_cast<std::chrono::seconds>(kStartLimit).count(), Logs());
    }
    if (options.stop_fd >= 0 ? sys::WaitReadable(options.stop_fd, kPoll)
                             : (sys::WaitReadable(-1, kPoll), false)) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
  }
  api_ = std::move(apis[0]);
  return {};
}

std::string DemoCluster::Logs() const {
  std::string text;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto log = sys::ReadFile(fmt::format("{}/node-{}/log", folder_, i + 1), 16u << 20);
    if (log)
      text += fmt::format("node-{}: {}\n", i + 1,
                          log->substr(log->size() > 1000 ? log->size() - 1000 : 0));
  }
  return text;
}

}  // namespace exo::app
