#include "net/socket.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "sys/system.h"

namespace exo::net {
namespace {

void Unmap(SocketAddress& address) {
  if (address.family() != AF_INET6) return;
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) return;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = v6->sin6_port;
  std::memcpy(&v4.sin_addr, v6->sin6_addr.s6_addr + 12, 4);
  address = {};
  std::memcpy(&address.storage, &v4, sizeof(v4));
  address.size = sizeof(v4);
}

wire::Address NameOf(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  if (name(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) return {};
  return ToAddress(address);
}

Result<Fd> ListenOn(const SocketAddress& at, const std::string& text) {
  Fd fd(::socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Fail(ErrorCode::kIo, "no socket for {}: {}", text, std::strerror(errno));
  SetIntOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.family() == AF_INET6) SetIntOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  constexpr int kBacklog =
      128;  // two handshake budgets (peers): the rest may wait in the peer's retries
  if (::bind(fd.get(), at.get(), at.size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    if (errno == EADDRINUSE)
      return Fail(ErrorCode::kIo, "{} is taken by another program, perhaps another exo", text);
    return Fail(ErrorCode::kIo, "cannot listen on {}: {}", text, std::strerror(errno));
  }
  return fd;
}

}  // namespace

void Fd::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<SocketAddress> ToSocketAddress(const wire::Address& address) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) !=
      0) {
    return Fail(ErrorCode::kInvalid, "\"{}\" is no numeric address", address.host);
  }
  SocketAddress result;
  std::memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return result;
}

bool IsNumericAddress(const std::string& host) {
  in6_addr bytes{};
  return ::inet_pton(AF_INET, host.c_str(), &bytes) == 1 ||
         ::inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &bytes) == 1;
}

wire::Address ToAddress(const SocketAddress& address) {
  SocketAddress plain = address;
  Unmap(plain);
  char host[NI_MAXHOST] = "";
  char port[NI_MAXSERV] = "0";
  if (::getnameinfo(plain.get(), plain.size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  return {host, static_cast<uint16_t>(std::atoi(port))};
}

wire::Address LocalAddress(int fd) {
  return NameOf(fd, ::getsockname);
}
wire::Address RemoteAddress(int fd) {
  return NameOf(fd, ::getpeername);
}

bool IsLoopback(const std::string& host) {
  return host.starts_with("127.") || host == "::1";
}

Result<wire::Address> ParseHostPort(std::string_view text, uint16_t default_port) {
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos)
      return Fail(ErrorCode::kInvalid, "\"{}\": ] is missing", text);
    host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest[0] != ':')
      return Fail(ErrorCode::kInvalid, "\"{}\" is not [host]:port", text);
    port = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port.empty())
      return Fail(ErrorCode::kInvalid, "\"{}\": the port is missing", text);
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return Fail(ErrorCode::kInvalid, "\"{}\": the port is missing", text);
  }
  const bool clean =
      std::all_of(host.begin(), host.end(), [](unsigned char c) { return c > ' ' && c < 127; });
  if (host.empty() || host.size() > 253 || !clean) {
    return Fail(ErrorCode::kInvalid, "\"{}\" is no HOST:PORT", text);
  }
  uint16_t number = default_port;
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size()) {
      return Fail(ErrorCode::kInvalid, "\"{}\": \"{}\" is no port (1 to 65535)", text, port);
    }
  }
  if (number == 0) return Fail(ErrorCode::kInvalid, "\"{}\" needs a port: HOST:PORT", text);
  return wire::Address{std::string(host), number};
}

std::vector<wire::Address> Resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  std::vector<wire::Address> result;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return result;
  constexpr size_t kMax = 8;  // a home name has one or two; a hostile resolver may say more
  for (const addrinfo* at = found; at != nullptr && result.size() < kMax; at = at->ai_next) {
    SocketAddress one;
    std::memcpy(&one.storage, at->ai_addr, at->ai_addrlen);
    one.size = at->ai_addrlen;
    result.push_back(ToAddress(one));
  }
  ::freeaddrinfo(found);
  return result;
}

Result<Fd> Listen(const std::string& host, uint16_t port) {
  if (!host.empty()) {
    const SocketAddress at = TRY(ToSocketAddress({host, port}));
    return ListenOn(at, fmt::format("{} port {}", host, port));
  }
  auto both = ListenOn(TRY(ToSocketAddress({"::", port})), fmt::format("port {}", port));
  if (both) return both;
  auto v4 = ListenOn(TRY(ToSocketAddress({"0.0.0.0", port})),
                     fmt::format("port {}", port));  // no IPv6 here
  return v4 ? std::move(v4) : std::move(both);
}

Result<Fd> BeginConnect(const wire::Address& address, const std::string& bind_host) {
  const SocketAddress to = TRY(ToSocketAddress(address));
  Fd fd(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Fail(ErrorCode::kIo, "no socket: {}", std::strerror(errno));
  if (!bind_host.empty()) {
    const SocketAddress from = TRY(ToSocketAddress({bind_host, 0}));
    if (from.family() != to.family() || ::bind(fd.get(), from.get(), from.size) != 0) {
      return Fail(ErrorCode::kDisconnected, "{} cannot be reached from {}", address.host,
                  bind_host);
    }
  }
  if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) {
    return Fail(ErrorCode::kDisconnected, "{} port {}: {}", address.host, address.port,
                std::strerror(errno));
  }
  return fd;
}

int ConnectError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

void SetControlOptions(int fd) {
  SetLinkOptions(fd);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(kControlTimeout).count();
  SetIntOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(ms));
}

bool SetIntOption(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

void SetLinkOptions(int fd) {
  constexpr int kProbes = 10;  // one a second: a little longer than the membership's limit
  SetIntOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetIntOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
  SetIntOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetIntOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
  SetIntOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  SetIntOption(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
}

std::optional<Delivery> ReadDelivery(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  constexpr size_t kLeast = offsetof(tcp_info, tcpi_rwnd_limited) + sizeof(info.tcpi_rwnd_limited);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < kLeast)
    return std::nullopt;
  if (info.tcpi_delivery_rate == 0 || info.tcpi_delivery_rate_app_limited != 0) return std::nullopt;
  return Delivery{.mbps = static_cast<double>(info.tcpi_delivery_rate) * 8e-6,
                  .held_up_us = info.tcpi_rwnd_limited};
}

int PollUntil(pollfd* fds, size_t count, Time deadline) {
  for (;;) {
    const Time left = std::max(deadline - sys::Now(), Time(0));
    // Half a day at most: a far deadline must not overflow time_t arithmetic anywhere.
    const Time wait = std::min(left, Time(std::chrono::hours(12)));
    timespec t{};
    t.tv_sec = static_cast<time_t>(wait.count() / 1'000'000'000);
    t.tv_nsec = static_cast<long>(wait.count() % 1'000'000'000);
    const int ready = ::ppoll(fds, count, &t, nullptr);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return ready;
    if (ready == 0 && sys::Now() >= deadline) return 0;
  }
}

}  // namespace exo::net
