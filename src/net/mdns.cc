#include "net/mdns.h"

#include <arpa/inet.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/thread-watch.h>
#include <avahi-core/core.h>
#include <avahi-core/log.h>
#include <avahi-core/lookup.h>
#include <avahi-core/publish.h>

#include <atomic>
#include <cstring>
#include <string>

#include "base/ids.h"
#include "net/interfaces.h"
#include "sys/files.h"

namespace exo::net {
namespace {

constexpr char kService[] = "_exo._tcp";
// Answers being looked up at once: a hostile network could announce any number.
constexpr int kMaxResolvers = 64;

using NonceText = Bytes<struct NonceTag, 16>;
using TagText = Bytes<struct BeaconTagTag, 8>;

AvahiAddress ToAvahi(const SocketAddress& address) {
  AvahiAddress to{};
  if (address.family() == AF_INET) {
    to.proto = AVAHI_PROTO_INET;
    to.data.ipv4.address = reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr.s_addr;
  } else {
    to.proto = AVAHI_PROTO_INET6;
    std::memcpy(to.data.ipv6.address,
                &reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr, 16);
  }
  return to;
}

// A link-local address is valid only on the interface where it was received.
SocketAddress FromAvahi(const AvahiAddress& address, int interface) {
  SocketAddress to;
  if (address.proto == AVAHI_PROTO_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&to.storage);
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = address.data.ipv4.address;
    to.size = sizeof(*v4);
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&to.storage);
    v6->sin6_family = AF_INET6;
    std::memcpy(&v6->sin6_addr, address.data.ipv6.address, 16);
    if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) v6->sin6_scope_id = static_cast<uint32_t>(interface);
    to.size = sizeof(*v6);
  }
  return to;
}

void Silence(AvahiLogLevel, const char*) {}

struct PollFree {
  void operator()(AvahiThreadedPoll* poll) const { avahi_threaded_poll_free(poll); }
};

class MdnsImpl final : public Mdns {
 public:
  MdnsImpl(EventLoop& loop, const ClusterSecret* secret, uint16_t port,
           std::function<void(const Found&)> on_found)
      : loop_(loop), secret_(secret), port_(port), on_found_(std::move(on_found)) {
    std::array<std::byte, 8> random;
    sys::FillRandom(random);
    Bytes<struct LabelTag, 8> label;
    std::memcpy(label.bytes.data(), random.data(), random.size());
    label_ = "exo-" + label.Hex();
  }
  ~MdnsImpl() override {
    *alive_ = false;
    if (started_) avahi_threaded_poll_stop(poll_.get());
    if (server_ != nullptr) avahi_server_free(server_);  // says goodbye
  }

  Result<void> Start();

 private:
  // All below: in the library's thread (or before it starts).
  void Publish(AvahiServer* server);
  void Resolved(const AvahiAddress& address, int interface, uint16_t port, AvahiStringList* text);
  static void OnServer(AvahiServer* server, AvahiServerState state, void* self);
  static void OnGroup(AvahiServer*, AvahiSEntryGroup*, AvahiEntryGroupState, void*) {}
  static void OnBrowse(AvahiSServiceBrowser*, AvahiIfIndex interface, AvahiProtocol protocol,
                       AvahiBrowserEvent event, const char* name, const char* type,
                       const char* domain, AvahiLookupResultFlags, void* self);
  static void OnResolve(AvahiSServiceResolver* resolver, AvahiIfIndex, AvahiProtocol,
                        AvahiResolverEvent event, const char*, const char*, const char*,
                        const char*, const AvahiAddress* address, uint16_t port,
                        AvahiStringList* text, AvahiLookupResultFlags, void* self);

  EventLoop& loop_;
  const ClusterSecret* secret_;
  const uint16_t port_;
  std::function<void(const Found&)> on_found_;
  std::string label_;
  std::unique_ptr<AvahiThreadedPoll, PollFree> poll_;
  bool started_ = false;
  AvahiServer* server_ = nullptr;
  AvahiSEntryGroup* group_ = nullptr;  // freed with the server
  int resolvers_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // looked at on the loop only
};

Result<void> MdnsImpl::Start() {
  avahi_set_log_function(Silence);
  poll_.reset(avahi_threaded_poll_new());
  if (!poll_) return Fail(ErrorCode::kIo, "mDNS: no memory");
  AvahiServerConfig config;
  avahi_server_config_init(&config);
  config.host_name = avahi_strdup(label_.c_str());
  // The library would claim this machine's own name and collide with every other stack on it; only
  // our random name gets an address (Publish).
  config.publish_addresses = 0;
  config.publish_hinfo = 0;
  config.publish_workstation = 0;
  config.publish_domain = 0;
  config.disallow_other_stacks = 0;
  config.enable_wide_area = 0;
  int error = 0;
  server_ = avahi_server_new(avahi_threaded_poll_get(poll_.get()), &config, OnServer, this, &error);
  avahi_server_config_free(&config);
  if (server_ == nullptr) return Fail(ErrorCode::kIo, "mDNS: {}", avahi_strerror(error));
  // Freed with the server.
  if (avahi_s_service_browser_new(server_, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC, kService, nullptr,
                                  static_cast<AvahiLookupFlags>(0), OnBrowse, this) == nullptr) {
    return Fail(ErrorCode::kIo, "mDNS: {}", avahi_strerror(avahi_server_errno(server_)));
  }
  if (avahi_threaded_poll_start(poll_.get()) != 0) return Fail(ErrorCode::kIo, "mDNS: no thread");
  started_ = true;
  return {};
}

void MdnsImpl::OnServer(AvahiServer* server, AvahiServerState state, void* self) {
  if (state == AVAHI_SERVER_RUNNING) static_cast<MdnsImpl*>(self)->Publish(server);
}

void MdnsImpl::Publish(AvahiServer* server) {
  if (group_ != nullptr) return;
  group_ = avahi_s_entry_group_new(server, OnGroup, this);
  if (group_ == nullptr) return;
  const std::string host = label_ + ".local";
  for (const Interface& one : ListInterfaces()) {
    if (one.loopback) continue;
    AvahiAddress address = ToAvahi(one.address);
    (void)avahi_server_add_address(server, group_, one.index, AVAHI_PROTO_UNSPEC,
                                   AVAHI_PUBLISH_NO_REVERSE, host.c_str(), &address);
  }
  NonceText nonce;
  sys::FillRandom(std::as_writable_bytes(std::span(nonce.bytes)));
  TagText tag;
  if (secret_ != nullptr) {
    tag.bytes = secret_->BeaconTag(nonce.bytes, port_);
  } else {
    sys::FillRandom(std::as_writable_bytes(std::span(tag.bytes)));
  }
  AvahiStringList* text =
      avahi_string_list_new(("n=" + nonce.Hex()).c_str(), ("t=" + tag.Hex()).c_str(), nullptr);
  const int added = avahi_server_add_service_strlst(
      server, group_, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC, static_cast<AvahiPublishFlags>(0),
      label_.c_str(), kService, nullptr, host.c_str(), port_, text);
  avahi_string_list_free(text);
  if (added >= 0) (void)avahi_s_entry_group_commit(group_);
}

void MdnsImpl::OnBrowse(AvahiSServiceBrowser* browser, AvahiIfIndex interface,
                        AvahiProtocol protocol, AvahiBrowserEvent event, const char* name,
                        const char* type, const char* domain, AvahiLookupResultFlags, void* self) {
  auto& mdns = *static_cast<MdnsImpl*>(self);
  (void)browser;
  if (event != AVAHI_BROWSER_NEW || mdns.label_ == name || mdns.resolvers_ >= kMaxResolvers) return;
  // server_ is not yet set when the library calls back from inside avahi_server_new; browsing
  // begins later. Each protocol is browsed by itself: the address of the same protocol is resolved.
  if (avahi_s_service_resolver_new(mdns.server_, interface, protocol, name, type, domain, protocol,
                                   static_cast<AvahiLookupFlags>(0), OnResolve, self) != nullptr) {
    ++mdns.resolvers_;
  }
}

void MdnsImpl::OnResolve(AvahiSServiceResolver* resolver, AvahiIfIndex interface, AvahiProtocol,
                         AvahiResolverEvent event, const char*, const char*, const char*,
                         const char*, const AvahiAddress* address, uint16_t port,
                         AvahiStringList* text, AvahiLookupResultFlags, void* self) {
  auto& mdns = *static_cast<MdnsImpl*>(self);
  if (event == AVAHI_RESOLVER_FOUND && address != nullptr)
    mdns.Resolved(*address, interface, port, text);
  avahi_s_service_resolver_free(resolver);
  --mdns.resolvers_;
}

// The value of `key` in a TXT record, when it is the hexadecimal form of an Id.
template <class Id>
std::optional<Id> TextValue(AvahiStringList* text, const char* key) {
  AvahiStringList* at = avahi_string_list_find(text, key);
  if (at == nullptr) return std::nullopt;
  const std::string_view entry(reinterpret_cast<const char*>(avahi_string_list_get_text(at)),
                               avahi_string_list_get_size(at));
  const size_t equals = entry.find('=');
  return equals == std::string_view::npos ? std::nullopt : Id::FromHex(entry.substr(equals + 1));
}

void MdnsImpl::Resolved(const AvahiAddress& address, int interface, uint16_t port,
                        AvahiStringList* text) {
  const std::string host = ToAddress(FromAvahi(address, interface)).host;
  if (port == 0 || host.empty() || IsLoopback(host)) return;
  const auto nonce = TextValue<NonceText>(text, "n");
  const auto tag = TextValue<TagText>(text, "t");
  Found found;
  found.address = {host, port};
  found.same_cluster =
      secret_ != nullptr && nonce && tag && secret_->BeaconTag(nonce->bytes, port) == tag->bytes;
  loop_.Post([this, alive = alive_, found] {
    if (*alive) on_found_(found);
  });
}

}  // namespace

Result<std::unique_ptr<Mdns>> Mdns::Start(EventLoop& loop, const ClusterSecret* secret,
                                          uint16_t port,
                                          std::function<void(const Found&)> on_found) {
  auto mdns = std::make_unique<MdnsImpl>(loop, secret, port, std::move(on_found));
  TRY(mdns->Start());
  return mdns;
}

}  // namespace exo::net
