#include "app/up.h"

#include <fmt/format.h>
#include <unistd.h>

#include "app/data_folder.h"
#include "base/log.h"
#include "net/event_loop.h"
#include "net/event_loop_asio.h"
#include "service/service.h"
#include "sys/process.h"

namespace exo::app {
namespace {

void PrintStart(const node::Node& node, const UpOptions& options, uint16_t api_port) {
  fmt::print("exo {} ({}) is up: {}\n", options.node.name, node.id().Short(), node.Describe());
  fmt::print("  API      http://localhost:{}/v1\n", api_port);
  fmt::print("  devices  join on port {}{}; show the secret with: exo secret\n", node.port(),
             options.node.loopback ? " of this machine only" : "");
  std::fflush(stdout);
}

}  // namespace

Result<void> RunUp(UpOptions options) {
  const int stop_fd = TRY(sys::StopSignals());
  const std::string folder = options.node.data_folder;
  const auto lock = TRY(LockDataFolder(folder));
  net::EventLoop loop;
  const auto node = TRY(node::Node::Start(loop, options.node));
  const auto server = service::MakeServer(net::Context(loop), *node, {.port = options.api_port});
  TRY(server->Start());
  node->SetApiPort(server->port());
  TRY(WriteRunningNode(folder,
                       {.pid = ::getpid(), .api_port = server->port(), .port = node->port()}));
  PrintStart(*node, options, server->port());

  net::FdWatch stop(loop, stop_fd);
  stop.OnReadable([&] {
    server->Stop();
    node->Shutdown([&] { loop.Stop(); });
  });
  loop.Run();
  ForgetRunningNode(folder);
  return {};
}

}  // namespace exo::app
