#include "app/up.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/adapter_option.h"
#include "app/data_folder.h"
#include "app/embedded_page.h"
#include "app/file_settings.h"
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
#include "service/sessions.h"
#include "sys/open_files.h"
#include "sys/process.h"
#include "sys/recent_log.h"
#include "sys/service_manager.h"
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

std::string NameOf(const Settings& settings) {
  return ToUtf8(settings.name.empty() ? sys::HostName() : settings.name);
}

Result<node::NodeOptions> ToNodeOptions(const Settings& settings) {
  std::vector<node::NodeOptions::ModelAdapter> adapters;
  for (const std::string& text : settings.lora) {
    if (auto one = ParseModelAdapter(text)) adapters.push_back(*std::move(one));  // checked before
  }
  return node::NodeOptions{
      .data_folder = sys::DataFolder(),
      .name = NameOf(settings),
      .port = settings.port,
      .port_required = !settings.IsDefault("port"),
      .peers = settings.peers,
      .threads = settings.threads,
      .memory_limit = settings.memory_limit,
      .isa = settings.isa,
      .copy_prepared = settings.copy_prepared,
      .stream_models = settings.stream_models,
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
      .log_prompts = settings.log_prompts,
      .lead = {.pace = {.target_gap = std::chrono::milliseconds(settings.target_gap)},
               .prefix_cache = settings.prefix_cache,
               .speculate = settings.speculation},
      .sources = TRY(PullSources(settings)),
      .adapters = std::move(adapters)};
}

bool IsAnyAddress(const std::string& host) {
  return host == "0.0.0.0" || host == "::";
}

// Of this device, numeric, without loopback.
std::vector<std::string> OwnAddresses() {
  std::vector<std::string> addresses;
  for (const net::Interface& one : net::ListInterfaces()) {
    std::string address = net::ToAddress(one.address).host;
    address = address.substr(0, address.find('%'));
    if (!one.loopback && std::ranges::find(addresses, address) == addresses.end())
      addresses.push_back(std::move(address));
  }
  return addresses;
}

// As URLs name who listens on a numeric address: of "any", each that this device has.
std::vector<std::string> HostsOf(const std::string& listening) {
  std::vector<std::string> hosts;
  const bool v6 = listening.find(':') != std::string::npos;
  for (const std::string& address :
       IsAnyAddress(listening) ? OwnAddresses() : std::vector{listening}) {
    const bool is_v6 = address.find(':') != std::string::npos;
    // Link-local ones name an interface, which URLs cannot.
    if (is_v6 != v6 || address.starts_with("fe80:")) continue;
    hosts.push_back(is_v6 ? "[" + address + "]" : address);
  }
  return hosts;
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
    if (IsAnyAddress(address->host)) {
      all = true;
    } else if (std::ranges::find(names, address->host) == names.end()) {
      names.push_back(address->host);
    }
  }
  for (std::string& address : all ? OwnAddresses() : std::vector<std::string>{}) {
    if (std::ranges::find(names, address) == names.end()) names.push_back(std::move(address));
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
  std::vector<std::string> addresses;  // of the page: on loopback first, then by TLS

  void Stop() {
    own->Stop();
    if (ollama != nullptr) ollama->Stop();
    for (const auto& server : listening) server->Stop();
  }
};

// What all servers of a node have in common.
struct Serving {
  net::EventLoop& loop;
  node::Node& node;
  const Settings& settings;
  const net::TlsServer* tls;
  service::KeyRing& keys;
  service::Sessions& sessions;
  FileSettings& file_settings;
};

// Fills `servers`, which outlives them.
Result<void> StartServers(const Serving& serving, Servers& servers) {
  const Settings& settings = serving.settings;
  const auto make = [&](service::HttpOptions options) {
    options.gate = &serving.keys;
    options.origins = settings.allow_origins;
    return service::MakeServer(net::Context(serving.loop), serving.node, std::move(options),
                               {.page = EmbeddedPage(),
                                .sessions = &serving.sessions,
                                .settings = &serving.file_settings,
                                .folder = sys::DataFolder(),
                                .addresses = [&servers] { return servers.addresses; }});
  };
  servers.own = make({.port = settings.api_port});
  TRY(servers.own->Start());
  servers.addresses.push_back(fmt::format("http://localhost:{}", servers.own->port()));
  for (const std::string& text : settings.listen) {
    const wire::Address address = TRY(ParseListen(text));
    auto server = make({.port = address.port, .tls = serving.tls, .address = address.host});
    TRY(server->Start());
    for (const std::string& host : HostsOf(address.host))
      servers.addresses.push_back(fmt::format("https://{}:{}", host, server->port()));
    servers.listening.push_back(std::move(server));
  }
  if (settings.ollama_port == 0) return {};
  servers.ollama = make({.port = settings.ollama_port});
  // Ollama itself may be there: the API is on its own port in any case.
  if (const auto started = servers.ollama->Start(); !started)
    LOG(kWarning, "ollama_port is not served: {}", started.error().message);
  return {};
}

// A node serves on a full disk too; only commands have to be told where.
void TellCommands(const RunningNode& node) {
  const auto written = WriteRunningNode(node);
  if (written) return;
  ForgetRunningNode(node.folder);  // one of an earlier node would mislead
  LOG(kWarning,
      "commands such as exo run do not find this node ({}): give them its port, EXO_API_PORT={}",
      written.error().message, node.api_port);
}

// What a person who has just started the node does next. Only a terminal gets a link that signs in:
// what else stands behind standard output may be kept.
std::string DashboardLine(const Servers& servers, service::Sessions& sessions) {
  if (!sys::IsTerminal(1)) return "exo dashboard  (opens it in a browser)";
  return service::LinkText(servers.addresses[0], sessions.NewLink()) +
         "\n           (works once, within 10 minutes; later: exo dashboard)";
}

// A node serves whether or not anybody can read this.
void PrintStart(const Serving& serving, const Servers& servers) {
  const node::Node& node = serving.node;
  std::string others;
  for (size_t i = 1; i < servers.addresses.size(); ++i)
    others += fmt::format("           {}/v1, with a key\n", servers.addresses[i]);
  if (serving.tls != nullptr)
    others += fmt::format("           certificate SHA-256 {}\n", serving.tls->fingerprint());
  (void)sys::WriteAll(
      1, fmt::format("exo {} ({}) is up: {}\n"
                     "  API      http://localhost:{}/v1\n{}"
                     "  open     {}\n"
                     "  devices  join on port {}{}; let one in with: exo invite\n",
                     Printable(NameOf(serving.settings)), node.id().Short(), node.Describe(),
                     servers.own->port(), others, DashboardLine(servers, serving.sessions),
                     node.port(), serving.settings.loopback ? " of this machine only" : ""));
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

Result<void> RunUp(const Settings& settings, const SettingSources& sources,
                   const std::string& join) {
  sys::IgnoreBrokenPipes();
  sys::RaiseOpenFileLimit();
  const node::NodeOptions options = TRY(ToNodeOptions(settings));
  sys::KeepLog(settings.log);
  sys::SetLogNode(options.name);
  sys::SetLogFormat(settings.log_format == "json" ? sys::LogFormat::kJson : sys::LogFormat::kText);
  if (settings.log_prompts) {
    LOG(kWarning, "log_prompts is on: what people ask is written to this log{}",
        settings.log > LogLevel::kInfo ? ", once its level (the setting log) is info" : "");
  }
  for (const std::string& sentence : StrayVariables()) LOG(kWarning, "{}", sentence);
  const auto guard = TRY(StopGuard::Start(options.data_folder));
  const auto lock = TRY(LockDataFolder(options.data_folder));
  const auto tls = TRY(MakeTls(settings, options.data_folder));
  service::KeyRing keys({.folder = options.data_folder, .share_prefixes = settings.share_prefixes});
  net::EventLoop loop;
  const auto node = TRY(node::Node::Start(loop, options));
  sys::SetLogNode(fmt::format("{}/{}", options.name, node->id().Short()));
  service::Sessions sessions({.folder = options.data_folder, .device = node->id().Short()}, keys);
  FileSettings file_settings(settings, sources);
  const Serving serving{loop, *node, settings, tls.get(), keys, sessions, file_settings};
  Servers servers;
  TRY(StartServers(serving, servers));
  const uint16_t api_port = servers.own->port();
  node->SetApiPort(api_port);
  TellCommands({.folder = options.data_folder,
                .pid = sys::ProcessId(),
                .api_port = api_port,
                .port = node->port(),
                .listens = !settings.listen.empty()});
  PrintStart(serving, servers);
  sys::TellServiceReady(fmt::format("API on port {}, devices on port {}", api_port, node->port()));
  LOG(kInfo, "up: API on port {}, devices on port {}", api_port, node->port());
  JoinAtStart(*node, join);
  net::Timer save(loop);
  SaveNowAndThen(save, keys);

  net::Timer linger(loop);
  net::FdWatch stop(loop, guard->fd());
  stop.OnReadable([&] {
    LOG(kInfo, "stopping");
    sys::TellServiceStopping();
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
