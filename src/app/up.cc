#include "app/up.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/adapter_option.h"
#include "app/data_folder.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/pull_sources.h"
#include "app/stop_guard.h"
#include "base/log.h"
#include "base/text.h"
#include "kernels/kernels.h"
#include "net/event_loop.h"
#include "net/event_loop_asio.h"
#include "net/interfaces.h"
#include "net/private_file.h"
#include "net/tls_server.h"
#include "node/node.h"
#include "service/api_keys.h"
#include "service/service.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// How long clients have, when this node stops, to take the error that ends their answers.
constexpr Time kLinger = std::chrono::milliseconds(100);
// What a crash may lose of when keys were used.
constexpr Time kSaveKeyUse = std::chrono::seconds(20);

// As wire::DesiredModel has it.
uint64_t KeepOf(const Settings& settings) {
  if (settings.keep_alive.empty()) return 0;
  return static_cast<uint64_t>(ParseDuration(settings.keep_alive).value().count());  // checked
}

node::ShareSettings ShareOf(const Settings& settings) {
  node::ShareSettings share{.min_charge = settings.min_charge,
                            .battery_share = settings.battery_share,
                            .hot_share = settings.hot_share,
                            .owner_share = settings.owner_share,
                            .hours = {}};
  for (const std::string& text : settings.hours)
    share.hours.push_back(node::ParseDayHours(text).value());  // checked
  return share;
}

Result<node::NodeOptions> ToNodeOptions(const Settings& settings) {
  std::vector<node::NodeOptions::ModelAdapter> adapters;
  for (const std::string& text : settings.lora) {
    if (auto one = ParseModelAdapter(text)) adapters.push_back(*std::move(one));  // checked before
  }
  return node::NodeOptions{
      .data_folder = sys::DataFolder(),
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
      .download_space = settings.download_space.value_or(0),
      .tensor_cache = settings.tensor_cache,
      .prefix_store = settings.prefix_store.value_or(0),
      .default_context = settings.default_context,
      .keep_ms = KeepOf(settings),
      .kv_type = static_cast<uint8_t>(kernels::KvTypeNamed(settings.kv).value()),
      .share = ShareOf(settings),
      .keep_awake = settings.keep_awake,
      .conversations = settings.conversations == "kept",
      .lead = {.pace = {.target_gap = std::chrono::milliseconds(settings.target_gap)},
               .prefix_cache = settings.prefix_cache,
               .speculate = settings.speculation},
      .sources = TRY(PullSources(settings)),
      .adapters = std::move(adapters)};
}

// The names and addresses by which clients may know this device.
std::vector<std::string> NamesFor(const Settings& settings) {
  const std::string host = sys::HostName();
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1"};
  if (host != "localhost") names.insert(names.end(), {host, host + ".local"});
  bool all = false;
  for (const std::string& text : settings.listen) {
    const auto address = ParseListen(text);  // checked before
    if (!address) continue;
    if (address->host == "0.0.0.0" || address->host == "::") {
      all = true;
    } else if (std::ranges::find(names, address->host) == names.end()) {
      names.push_back(address->host);
    }
  }
  for (const net::Interface& one : all ? net::ListInterfaces() : std::vector<net::Interface>{}) {
    std::string address = net::ToAddress(one.address).host;
    address = address.substr(0, address.find('%'));
    if (!one.loopback && std::ranges::find(names, address) == names.end())
      names.push_back(std::move(address));
  }
  return names;
}

// Of `--listen`; null without. Errors: no key that could use it, no certificate.
Result<std::unique_ptr<net::TlsServer>> MakeTls(const Settings& settings,
                                                const std::string& folder) {
  if (settings.listen.empty()) return std::unique_ptr<net::TlsServer>();
  if (TRY(service::ReadKeys(folder)).empty()) {
    return Fail(ErrorCode::kInvalid,
                "{} needs a key for those who ask, and there is none: make one with `exo key add "
                "NAME` and start again",
                settings.origins.at("listen"));
  }
  if (settings.tls_cert.empty() != settings.tls_key.empty()) {
    return Fail(ErrorCode::kInvalid, "tls_cert and tls_key belong together, and {} is missing",
                settings.tls_cert.empty() ? "tls_cert" : "tls_key");
  }
  if (settings.tls_cert.empty())
    return net::TlsServer::Create(TRY(net::OwnCertificate(folder, NamesFor(settings))));
  auto made = net::TlsServer::Create({.chain = TRY(sys::ReadPlainFile(settings.tls_cert, 1 << 20)),
                                      .key = TRY(net::ReadPrivateFile(settings.tls_key))});
  if (!made)
    return Wrap(made.error(), fmt::format("{} and {}", settings.tls_cert, settings.tls_key));
  return made;
}

// Everything that serves the API of a node.
struct Servers {
  std::unique_ptr<service::HttpServer> own;                     // on loopback
  std::unique_ptr<service::HttpServer> ollama;                  // the same on a second port
  std::vector<std::unique_ptr<service::HttpServer>> listening;  // by TLS
  std::vector<std::string> addresses;                           // of them, as URLs

  void Stop() {
    own->Stop();
    if (ollama != nullptr) ollama->Stop();
    for (const auto& server : listening) server->Stop();
  }
};

Result<Servers> StartServers(net::EventLoop& loop, node::Node& node, const Settings& settings,
                             const net::TlsServer* tls, service::KeyRing& keys) {
  Servers servers;
  const auto make = [&](service::HttpOptions options) {
    options.gate = &keys;
    options.origins = settings.allow_origins;
    return service::MakeServer(net::Context(loop), node, std::move(options));
  };
  servers.own = make({.port = settings.api_port});
  TRY(servers.own->Start());
  for (const std::string& text : settings.listen) {
    const wire::Address address = TRY(ParseListen(text));
    auto server = make({.port = address.port, .tls = tls, .address = address.host});
    TRY(server->Start());
    const std::string host =
        address.host.find(':') == std::string::npos ? address.host : "[" + address.host + "]";
    servers.addresses.push_back(fmt::format("https://{}:{}/v1", host, server->port()));
    servers.listening.push_back(std::move(server));
  }
  if (settings.ollama_port == 0) return servers;
  servers.ollama = make({.port = settings.ollama_port});
  // Ollama itself may be there: the API is on its own port in any case.
  if (const auto started = servers.ollama->Start(); !started)
    LOG(kWarning, "ollama_port is not served: {}", started.error().message);
  return servers;
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
void PrintStart(const node::Node& node, const std::string& name, bool loopback,
                const Servers& servers, const net::TlsServer* tls) {
  std::string others;
  for (const std::string& address : servers.addresses)
    others += fmt::format("           {}, with a key\n", address);
  if (tls != nullptr)
    others += fmt::format("           certificate SHA-256 {}\n", tls->fingerprint());
  (void)sys::WriteAll(
      1, fmt::format("exo {} ({}) is up: {}\n"
                     "  API      http://localhost:{}/v1\n{}"
                     "  devices  join on port {}{}; let one in with: exo invite\n",
                     Printable(name), node.id().Short(), node.Describe(), servers.own->port(),
                     others, node.port(), loopback ? " of this machine only" : ""));
}

// Before anybody types: what `exo up --join CODE` says is all that a new device needs.
void JoinAtStart(node::Node& node, const std::string& code) {
  if (code.empty()) return;
  node.pairing().Join({.code = code}, [](const Result<node::JoinView>& joined) {
    if (!joined) return Note("exo: not joined: {}\n", Printable(joined.error().message));
    Note("exo: joined the cluster of {} ({})\n", Printable(joined->name),
         joined->id.Hex().substr(0, 16));
  });
}

// What keys have used is written now and then.
void SaveNowAndThen(net::Timer& timer, service::KeyRing& keys) {
  timer.Start(kSaveKeyUse, [&timer, &keys] {
    keys.Save();
    SaveNowAndThen(timer, keys);
  });
}

}  // namespace

Result<void> RunUp(const Settings& settings, const std::string& join) {
  sys::IgnoreBrokenPipes();
  const node::NodeOptions options = TRY(ToNodeOptions(settings));
  sys::SetLogNode(options.name);
  for (const std::string& sentence : StrayVariables()) LOG(kWarning, "{}", sentence);
  const auto guard = TRY(StopGuard::Start(options.data_folder));
  const auto lock = TRY(LockDataFolder(options.data_folder));
  const auto tls = TRY(MakeTls(settings, options.data_folder));
  service::KeyRing keys({.folder = options.data_folder, .share_prefixes = settings.share_prefixes});
  net::EventLoop loop;
  const auto node = TRY(node::Node::Start(loop, options));
  sys::SetLogNode(fmt::format("{}/{}", options.name, node->id().Short()));
  Servers servers = TRY(StartServers(loop, *node, settings, tls.get(), keys));
  const uint16_t api_port = servers.own->port();
  node->SetApiPort(api_port);
  TellCommands(options.data_folder, {.pid = sys::ProcessId(),
                                     .api_port = api_port,
                                     .port = node->port(),
                                     .listens = !settings.listen.empty()});
  PrintStart(*node, options.name, options.loopback, servers, tls.get());
  LOG(kInfo, "up: API on port {}, devices on port {}", api_port, node->port());
  JoinAtStart(*node, join);
  net::Timer save(loop);
  SaveNowAndThen(save, keys);

  net::Timer linger(loop);
  net::FdWatch stop(loop, guard->fd());
  stop.OnReadable([&] {
    LOG(kInfo, "stopping");
    ForgetRunningNode(options.data_folder);
    // Clients read why their answers end before the connections do.
    const bool answering = node->EndRequests() > 0;
    linger.Start(answering ? kLinger : Time{}, [&] {
      servers.Stop();
      keys.Close();
      node->Shutdown([&] { loop.Stop(); });
    });
  });
  loop.Run();
  return {};
}

}  // namespace exo::app
