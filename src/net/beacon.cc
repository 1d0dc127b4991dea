#include "net/beacon.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/log.h"
#include "net/socket.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::net {
namespace {

constexpr uint32_t kMagic = 0x424f5845;  // "EXOB"
constexpr uint8_t kVersion = 1;
// Administratively scoped (RFC 2365): stays within the home.
constexpr char kGroup4[] = "239.255.69.88";
// Link-local scope, not assigned by IANA (RFC 4291 2.7): "EXOB".
constexpr char kGroup6[] = "ff12::4558:4f42";
constexpr Time kBurst[] = {std::chrono::seconds(1),
                           std::chrono::seconds(2)};  // after 0: at 1 s and 3 s
constexpr Time kInterval = std::chrono::seconds(10);
constexpr Time kEchoPatience = std::chrono::seconds(2);
constexpr size_t kOwnNonces = 256;  // replies and announces of far more than a round trip

// `host` is numeric; a group of link-local scope needs the index of its interface.
SocketAddress At(const char* host, uint16_t port, int index = 0) {
  SocketAddress address = *ToSocketAddress({host, port});
  if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_scope_id = static_cast<uint32_t>(index);
  }
  return address;
}

SocketAddress Broadcast(const Interface& one, uint16_t port) {
  SocketAddress address = At("255.255.255.255", port);
  reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr = one.broadcast;
  return address;
}

// One hop, heard by this machine's other nodes too, and only groups that this socket joined on the
// interfaces where it joined them.
void SetMulticastOptions(int fd, int family) {
  if (family == AF_INET) {
    SetIntOption(fd, SOL_SOCKET, SO_BROADCAST, 1);
    SetIntOption(fd, IPPROTO_IP, IP_MULTICAST_TTL, 1);
    SetIntOption(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    SetIntOption(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
  } else {
    SetIntOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    SetIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1);
    SetIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1);
    SetIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
  }
}

bool JoinGroup(int fd, const Interface& one) {
  int failed = 0;
  if (one.address.family() == AF_INET) {
    ip_mreqn request{};
    ::inet_pton(AF_INET, kGroup4, &request.imr_multiaddr);
    request.imr_ifindex = one.index;
    failed = ::setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request));
  } else {
    ipv6_mreq request{};
    ::inet_pton(AF_INET6, kGroup6, &request.ipv6mr_multiaddr);
    request.ipv6mr_interface = static_cast<unsigned>(one.index);
    failed = ::setsockopt(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request, sizeof(request));
  }
  return failed == 0 || errno == EADDRINUSE;  // joined before, for another address
}

// The interface that the next packet to the group leaves by. False: it cannot.
bool SendVia(int fd, const Interface& one) {
  if (one.address.family() == AF_INET6) return true;  // the group's address says it
  ip_mreqn out{};
  out.imr_address = reinterpret_cast<const sockaddr_in*>(&one.address.storage)->sin_addr;
  out.imr_ifindex = one.index;
  return ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)) == 0;
}

// Lost packets are the next announcement's business. False, with errno: it did not go out.
bool SendTo(int fd, std::span<const uint8_t> packet, const SocketAddress& to) {
  return ::sendto(fd, packet.data(), packet.size(), MSG_NOSIGNAL, to.get(), to.size) >= 0;
}

Result<Fd> UdpSocket(const SocketAddress& at, bool shared) {
  Fd fd(::socket(at.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Fail(ErrorCode::kIo, "no UDP socket: {}", std::strerror(errno));
  if (shared) {
    // Several nodes of one machine listen on the same port; each gets every multicast.
    SetIntOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    SetIntOption(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  }
  SetMulticastOptions(fd.get(), at.family());
  if (::bind(fd.get(), at.get(), at.size) != 0) {
    const wire::Address address = ToAddress(at);
    return Fail(ErrorCode::kIo, "UDP port {} of {}: {}", address.port, address.host,
                std::strerror(errno));
  }
  return fd;
}

}  // namespace

std::array<uint8_t, BeaconPacket::kBytes> EncodeBeacon(const BeaconPacket& packet) {
  std::array<uint8_t, BeaconPacket::kBytes> bytes{};
  for (int i = 0; i < 4; ++i)
    bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(kMagic >> (8 * i));
  bytes[4] = kVersion;
  bytes[5] = packet.reply ? 1 : 0;
  bytes[6] = static_cast<uint8_t>(packet.port);
  bytes[7] = static_cast<uint8_t>(packet.port >> 8);
  std::copy(packet.nonce.begin(), packet.nonce.end(), bytes.begin() + 8);
  std::copy(packet.tag.begin(), packet.tag.end(), bytes.begin() + 24);
  return bytes;
}

std::optional<BeaconPacket> ParseBeacon(std::span<const uint8_t> bytes) {
  if (bytes.size() != BeaconPacket::kBytes) return std::nullopt;
  uint32_t magic = 0;
  for (size_t i = 0; i < 4; ++i) magic |= uint32_t{bytes[i]} << (8 * i);
  if (magic != kMagic || bytes[4] != kVersion || bytes[5] > 1) return std::nullopt;
  BeaconPacket packet;
  packet.reply = bytes[5] == 1;
  packet.port = static_cast<uint16_t>(bytes[6] | bytes[7] << 8);
  if (packet.port == 0) return std::nullopt;
  std::copy_n(bytes.begin() + 8, packet.nonce.size(), packet.nonce.begin());
  std::copy_n(bytes.begin() + 24, packet.tag.size(), packet.tag.begin());
  return packet;
}

Beacon::Beacon(EventLoop& loop, const ClusterSecret* secret, const DiscoveryOptions& options,
               std::function<void(const Found&)> on_found)
    : loop_(loop),
      secret_(secret),
      options_(options),
      on_found_(std::move(on_found)),
      rng_(sys::RandomValue<uint64_t>()),
      timer_(loop),
      total_{.tokens = kPerSecond} {}

Result<std::unique_ptr<Beacon>> Beacon::Start(EventLoop& loop, const ClusterSecret* secret,
                                              const DiscoveryOptions& options,
                                              std::function<void(const Found&)> on_found) {
  std::unique_ptr<Beacon> beacon(new Beacon(loop, secret, options, std::move(on_found)));
  TRY(beacon->Open());
  beacon->Burst();
  return beacon;
}

Result<std::unique_ptr<Beacon::Family>> Beacon::OpenFamily(int family) {
  auto opened = std::make_unique<Family>();
  const char* any = family == AF_INET ? "0.0.0.0" : "::";
  // Loopback: bound to the group, so that nothing but its multicast arrives. LAN: broadcasts too.
  const bool local = options_.scope == DiscoveryScope::kLoopback;
  opened->family = family;
  opened->listen = TRY(UdpSocket(At(local ? kGroup4 : any, options_.beacon_port), true));
  opened->talk = TRY(UdpSocket(At(local ? "127.0.0.1" : any, 0), false));
  opened->listen_watch = std::make_unique<FdWatch>(loop_, opened->listen.get());
  opened->talk_watch = std::make_unique<FdWatch>(loop_, opened->talk.get());
  for (auto* at : {&opened->listen_watch, &opened->talk_watch}) {
    const int fd = at == &opened->listen_watch ? opened->listen.get() : opened->talk.get();
    (*at)->OnReadable(
        [this, fd, watch = at->get(), of = opened.get()] { Receive(fd, *watch, *of); });
  }
  return opened;
}

Result<void> Beacon::Open() {
  auto v4 = OpenFamily(AF_INET);
  if (v4) families_.push_back(std::move(*v4));
  if (options_.scope == DiscoveryScope::kLan) {
    auto v6 = OpenFamily(AF_INET6);
    if (v6) families_.push_back(std::move(*v6));
  }
  if (families_.empty()) return std::unexpected(v4.error());
  return {};
}

const Beacon::Family* Beacon::FamilyOf(const Interface& one) const {
  for (const auto& family : families_) {
    if (family->family == one.address.family()) return family.get();
  }
  return nullptr;
}

bool Beacon::InScope(const Interface& one) const {
  return one.loopback || options_.scope == DiscoveryScope::kLan;
}

// Joins the group wherever it is not joined yet. Interfaces that went take their membership with
// them.
void Beacon::Join() {
  std::vector<Interface> now;
  for (const Interface& one : ListInterfaces()) {
    const Family* family = FamilyOf(one);
    if (family == nullptr || !InScope(one)) continue;
    now.push_back(one);
    if (std::find(joined_.begin(), joined_.end(), one) != joined_.end()) continue;
    if (!JoinGroup(family->listen.get(), one))
      LOG(kDebug, "beacon: cannot join on {}: {}", one.name, std::strerror(errno));
  }
  joined_ = std::move(now);
}

void Beacon::Burst() {
  burst_ = 0;
  Announce();
}

std::array<uint8_t, BeaconPacket::kBytes> Beacon::Packet(bool reply) {
  BeaconPacket packet{.reply = reply, .port = options_.port};
  sys::FillRandom(std::as_writable_bytes(std::span(packet.nonce)));
  if (secret_ != nullptr) {
    packet.tag = secret_->BeaconTag(packet.nonce, packet.port);
  } else {
    sys::FillRandom(std::as_writable_bytes(std::span(packet.tag)));
  }
  own_.push_back(packet.nonce);
  if (own_.size() > kOwnNonces) own_.pop_front();
  return EncodeBeacon(packet);
}

void Beacon::Announce() {
  Join();
  const auto packet = Packet(false);
  std::set<int> told;  // interfaces may have several IPv6 addresses
  bool sent = false;
  for (const Interface& one : joined_) {
    const bool v4 = one.address.family() == AF_INET;
    if (!v4 && !told.insert(one.index).second) continue;
    const int fd = FamilyOf(one)->talk.get();
    if (!SendVia(fd, one)) continue;
    const bool went =
        SendTo(fd, packet, At(v4 ? kGroup4 : kGroup6, options_.beacon_port, one.index));
    if (!IsTelling(one.loopback)) {
      // Says nothing about the network.
    } else if (went) {
      sent = true;
    } else if (!sent) {
      send_error_ = fmt::format("{}: {}", one.name, std::strerror(errno));
    }
    if (v4 && one.broadcast.s_addr != 0 && !one.loopback)
      (void)SendTo(fd, packet, Broadcast(one, options_.beacon_port));
  }
  if (sent) send_error_.clear();
  if (sent && !unheard_since_) unheard_since_ = sys::Now();
  const Time next = burst_ < std::size(kBurst) ? kBurst[burst_] : kInterval;
  const double jitter = burst_ < std::size(kBurst) ? 1 : 0.8 + 0.4 * rng_.Uniform();
  ++burst_;
  timer_.Start(Time(static_cast<int64_t>(static_cast<double>(next.count()) * jitter)),
               [this] { Announce(); });
}

void Beacon::Receive(int fd, FdWatch& watch, const Family& family) {
  constexpr int kPerTurn = 64;
  for (int i = 0; i < kPerTurn; ++i) {
    uint8_t bytes[BeaconPacket::kBytes + 1];  // one more shows that a packet is too long
    SocketAddress from;
    from.size = sizeof(from.storage);
    const ssize_t got = ::recvfrom(fd, bytes, sizeof(bytes), 0,
                                   reinterpret_cast<sockaddr*>(&from.storage), &from.size);
    if (got < 0) break;
    Handle(std::span(bytes).first(static_cast<size_t>(got)), from, family);
  }
  watch.OnReadable([this, fd, &watch, &family] { Receive(fd, watch, family); });
}

bool Beacon::HearsItself() const {
  return !unheard_since_ || sys::Now() - *unheard_since_ < kEchoPatience;
}

bool Beacon::WithinRate(const std::string& source) {
  const Time now = sys::Now();
  const auto take = [now](Bucket& bucket, double rate) {
    const double seconds = std::chrono::duration<double>(now - bucket.last).count();
    bucket.tokens = std::min(rate, bucket.tokens + seconds * rate);
    bucket.last = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  };
  if (!take(total_, kPerSecond)) return false;
  if (IsLoopback(source)) return true;
  if (sources_.size() >= kMaxSources && !sources_.contains(source)) {
    std::erase_if(sources_, [now](const auto& entry) {
      return now - entry.second.last > std::chrono::seconds(2);
    });
    if (sources_.size() >= kMaxSources) return false;
  }
  return take(sources_.try_emplace(source, Bucket{kPerSecondPerSource, now}).first->second,
              kPerSecondPerSource);
}

void Beacon::Handle(std::span<const uint8_t> bytes, const SocketAddress& from,
                    const Family& family) {
  const auto packet = ParseBeacon(bytes);
  if (!packet) return;
  Found found;
  found.address = {ToAddress(from).host, packet->port};
  if (std::find(own_.begin(), own_.end(), packet->nonce) != own_.end()) {
    if (IsTelling(IsLoopback(found.address.host))) unheard_since_.reset();
    return;
  }
  if (!WithinRate(found.address.host)) return;
  found.same_cluster =
      secret_ != nullptr && secret_->BeaconTag(packet->nonce, packet->port) == packet->tag;
  if ((found.same_cluster || inviting_) && !packet->reply) {
    (void)SendTo(family.talk.get(), Packet(true), from);  // as long as what it answers
  }
  on_found_(found);
}

}  // namespace exo::net
