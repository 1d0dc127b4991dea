#include "app/up.h"

#include <fmt/format.h>

#include "app/adapter_option.h"
#include "app/data_folder.h"
#include "app/model_path.h"
#include "app/stop_guard.h"
#include "base/log.h"
#include "base/text.h"
#include "kernels/kernels.h"
#include "net/event_loop.h"
#include "net/event_loop_asio.h"
#include "net/secret.h"
#include "node/node.h"
#include "service/service.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// How long clients have, when this node stops, to take the error that ends their answers.
constexpr Time kLinger = std::chrono::milliseconds(100);

node::NodeOptions ToNodeOptions(const Settings& settings) {
  std::vector<node::NodeOptions::ModelAdapter> adapters;
  for (const std::string& text : settings.lora) {
    if (auto one = ParseModelAdapter(text)) adapters.push_back(*std::move(one));  // checked before
  }
  return {.data_folder = sys::DataFolder(),
          .name = ToUtf8(settings.name.empty() ? sys::HostName() : settings.name),
          .port = settings.port,
          .port_required = !settings.IsDefault("port"),
          .peers = settings.peers,
          .threads = settings.threads,
          .memory_limit = settings.memory_limit,
          .isa = settings.isa,
          .copy_prepared = settings.copy_prepared,
          .secret = settings.cluster_secret,
          .loopback = settings.loopback,
          .discovery = settings.discovery,
          .model_folders = ModelFolders(settings),
          .named_folders = settings.models,
          .tensor_cache = settings.tensor_cache,
          .prefix_store = settings.prefix_store.value_or(0),
          .default_context = settings.default_context,
          .kv_type = static_cast<uint8_t>(kernels::KvTypeNamed(settings.kv).value()),
          .lead = {.pace = {.target_gap = std::chrono::milliseconds(settings.target_gap)},
                   .prefix_cache = settings.prefix_cache,
                   .speculate = settings.speculation},
          .adapters = std::move(adapters)};
}

// What `exo secret` cannot find by itself: a secret that is not the data folder's.
Result<std::string> GivenSecret(const Settings& settings) {
  if (settings.cluster_secret.empty()) return std::string();
  return TRY(net::ClusterSecret::Parse(settings.cluster_secret))->Text();
}

// A node serves on a full disk too; only commands have to be told where.
void TellCommands(const std::string& folder, const RunningNode& node) {
  const auto written = WriteRunningNode(folder, node);
  if (written) return;
  ForgetRunningNode(folder);  // one of an earlier node would mislead
  LOG(kWarning,
      "commands such as exo run do not find this node ({}): give them its port, EXO_API_PORT={}",
      written.error().message, node.api_port);
}

// A node serves whether or not anybody can read this.
void PrintStart(const node::Node& node, const std::string& name, bool loopback, uint16_t api_port) {
  (void)sys::WriteAll(
      1, fmt::format("exo {} ({}) is up: {}\n"
                     "  API      http://localhost:{}/v1\n"
                     "  devices  join on port {}{}; show the secret with: exo secret\n",
                     Printable(name), node.id().Short(), node.Describe(), api_port, node.port(),
                     loopback ? " of this machine only" : ""));
}

}  // namespace

Result<void> RunUp(const Settings& settings) {
  sys::IgnoreBrokenPipes();
  const node::NodeOptions options = ToNodeOptions(settings);
  sys::SetLogNode(options.name);
  for (const std::string& sentence : StrayVariables()) LOG(kWarning, "{}", sentence);
  const auto guard = TRY(StopGuard::Start(options.data_folder));
  const auto lock = TRY(LockDataFolder(options.data_folder));
  net::EventLoop loop;
  const auto node = TRY(node::Node::Start(loop, options));
  sys::SetLogNode(fmt::format("{}/{}", options.name, node->id().Short()));
  const auto server = service::MakeServer(net::Context(loop), *node, {.port = settings.api_port});
  TRY(server->Start());
  std::unique_ptr<service::HttpServer> ollama;
  if (settings.ollama_port != 0) {
    ollama = service::MakeServer(net::Context(loop), *node, {.port = settings.ollama_port});
    // Ollama itself may be there: the API is on its own port in any case.
    if (const auto started = ollama->Start(); !started)
      LOG(kWarning, "ollama_port is not served: {}", started.error().message);
  }
  node->SetApiPort(server->port());
  TellCommands(options.data_folder, {.pid = sys::ProcessId(),
                                     .api_port = server->port(),
                                     .port = node->port(),
                                     .secret = TRY(GivenSecret(settings))});
  PrintStart(*node, options.name, options.loopback, server->port());
  LOG(kInfo, "up: API on port {}, devices on port {}", server->port(), node->port());

  net::Timer linger(loop);
  net::FdWatch stop(loop, guard->fd());
  stop.OnReadable([&] {
    LOG(kInfo, "stopping");
    ForgetRunningNode(options.data_folder);
    // Clients read why their answers end before the connections do.
    const bool answering = node->EndRequests() > 0;
    linger.Start(answering ? kLinger : Time{}, [&] {
      server->Stop();
      if (ollama != nullptr) ollama->Stop();
      node->Shutdown([&] { loop.Stop(); });
    });
  });
  loop.Run();
  return {};
}

}  // namespace exo::app
