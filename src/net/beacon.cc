#include "net/beacon.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::net {
namespace {

constexpr uint32_t kMagic = 0x424f5845;  // "EXOB"
constexpr uint8_t kVersion = 1;
// Administratively scoped (RFC 2365): stays within the home.
constexpr char kGroup[] = "239.255.69.88";
constexpr Time kBurst[] = {std::chrono::seconds(1),
                           std::chrono::seconds(2)};  // after 0: at 1 s and 3 s
constexpr Time kInterval = std::chrono::seconds(10);
constexpr size_t kOwnNonces = 256;  // replies and announces of far more than a round trip

bool SetInt(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

sockaddr_in Ipv4(in_addr address, uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr = address;
  return to;
}

Result<Fd> UdpSocket(const sockaddr_in& at, bool shared) {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Fail(ErrorCode::kIo, "no UDP socket: {}", std::strerror(errno));
  if (shared) {
    // Several nodes of one machine listen on the same port; each gets every multicast.
    SetInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    SetInt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  }
  SetInt(fd.get(), SOL_SOCKET, SO_BROADCAST, 1);
  SetInt(fd.get(), IPPROTO_IP, IP_MULTICAST_TTL, 1);
  SetInt(fd.get(), IPPROTO_IP, IP_MULTICAST_LOOP, 1);
  // Only groups that this socket joined, on the interfaces where it joined them.
  SetInt(fd.get(), IPPROTO_IP, IP_MULTICAST_ALL, 0);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
    return Fail(ErrorCode::kIo, "UDP port {}: {}", ntohs(at.sin_port), std::strerror(errno));
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

Result<void> Beacon::Open() {
  // Loopback: bound to the group, so that nothing but its multicast arrives. LAN: broadcasts too.
  in_addr any{};
  if (options_.scope == DiscoveryScope::kLoopback) ::inet_pton(AF_INET, kGroup, &any);
  listen_ = TRY(UdpSocket(Ipv4(any, options_.beacon_port), true));
  in_addr from{};
  if (options_.scope == DiscoveryScope::kLoopback) from.s_addr = htonl(INADDR_LOOPBACK);
  talk_ = TRY(UdpSocket(Ipv4(from, 0), false));
  listen_watch_ = std::make_unique<FdWatch>(loop_, listen_.get());
  talk_watch_ = std::make_unique<FdWatch>(loop_, talk_.get());
  listen_watch_->OnReadable([this] { Receive(listen_.get(), *listen_watch_); });
  talk_watch_->OnReadable([this] { Receive(talk_.get(), *talk_watch_); });
  return {};
}

bool Beacon::InScope(const Interface& one) const {
  return one.loopback || options_.scope == DiscoveryScope::kLan;
}

// Joins the group wherever it is not joined yet. Interfaces that went take their membership with
// them.
void Beacon::Join() {
  std::vector<Interface> now;
  for (const Interface& one : ListInterfaces()) {
    if (!InScope(one)) continue;
    now.push_back(one);
    if (std::find(joined_.begin(), joined_.end(), one) != joined_.end()) continue;
    ip_mreqn request{};
    ::inet_pton(AF_INET, kGroup, &request.imr_multiaddr);
    request.imr_address = one.address;
    request.imr_ifindex = one.index;
    if (::setsockopt(listen_.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)) !=
            0 &&
        errno != EADDRINUSE) {
      LOG(kDebug, "beacon: cannot join on {}: {}", one.name, std::strerror(errno));
    }
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
  in_addr group{};
  ::inet_pton(AF_INET, kGroup, &group);
  const auto send = [&](in_addr to) {
    const sockaddr_in address = Ipv4(to, options_.beacon_port);
    // Lost packets are the next announce's business.
    (void)::sendto(talk_.get(), packet.data(), packet.size(), MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  };
  for (const Interface& one : joined_) {
    ip_mreqn out{};
    out.imr_address = one.address;
    out.imr_ifindex = one.index;
    if (::setsockopt(talk_.get(), IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)) != 0) continue;
    send(group);
    if (one.broadcast.s_addr != 0 && !one.loopback) send(one.broadcast);
  }
  const Time next = burst_ < std::size(kBurst) ? kBurst[burst_] : kInterval;
  const double jitter = burst_ < std::size(kBurst) ? 1 : 0.8 + 0.4 * rng_.Uniform();
  ++burst_;
  timer_.Start(Time(static_cast<int64_t>(static_cast<double>(next.count()) * jitter)),
               [this] { Announce(); });
}

void Beacon::Receive(int fd, FdWatch& watch) {
  constexpr int kPerTurn = 64;
  for (int i = 0; i < kPerTurn; ++i) {
    uint8_t bytes[BeaconPacket::kBytes + 1];  // one more shows that a packet is too long
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    const ssize_t got =
        ::recvfrom(fd, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) break;
    Handle(std::span(bytes).first(static_cast<size_t>(got)), from);
  }
  watch.OnReadable([this, fd, &watch] { Receive(fd, watch); });
}

bool Beacon::WithinRate(uint32_t source, bool loopback) {
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
  if (loopback) return true;
  if (sources_.size() >= kMaxSources && !sources_.contains(source)) {
    std::erase_if(sources_, [now](const auto& entry) {
      return now - entry.second.last > std::chrono::seconds(2);
    });
    if (sources_.size() >= kMaxSources) return false;
  }
  return take(sources_.try_emplace(source, Bucket{kPerSecondPerSource, now}).first->second,
              kPerSecondPerSource);
}

void Beacon::Handle(std::span<const uint8_t> bytes, const sockaddr_in& from) {
  const auto packet = ParseBeacon(bytes);
  if (!packet || std::find(own_.begin(), own_.end(), packet->nonce) != own_.end()) return;
  SocketAddress source;
  std::memcpy(&source.storage, &from, sizeof(from));
  source.size = sizeof(from);
  Found found;
  found.address = {ToAddress(source).host, packet->port};
  if (!WithinRate(from.sin_addr.s_addr, IsLoopback(found.address.host))) return;
  found.same_cluster =
      secret_ != nullptr && secret_->BeaconTag(packet->nonce, packet->port) == packet->tag;
  if (found.same_cluster && !packet->reply) {
    const auto reply = Packet(true);  // as long as what it answers
    (void)::sendto(talk_.get(), reply.data(), reply.size(), MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&from), sizeof(from));
  }
  on_found_(found);
}

}  // namespace exo::net
