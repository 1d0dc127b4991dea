// Sockets as values: an owned descriptor, addresses, the options that every connection of exo has.
//
// Thread: any. The bottom of net; knows no TLS.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "wire/messages.h"

namespace exo::net {

// The membership's limit for a silent member (cluster::Timers::dead): the socket gives up no
// sooner.
inline constexpr Time kControlTimeout = std::chrono::seconds(6);

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Close(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// Numeric hosts only (IPv6 may carry a zone). Errors: kInvalid.
Result<SocketAddress> ToSocketAddress(const wire::Address& address);
// IPv4-mapped IPv6 addresses come out as IPv4.
wire::Address ToAddress(const SocketAddress& address);
// The address of this or the other end of a connected socket; empty host when it has none.
wire::Address LocalAddress(int fd);
wire::Address RemoteAddress(int fd);
bool IsLoopback(const std::string& host);
// In the usual form: "1.2.3" and "*", which the resolver takes for addresses, are none.
bool IsNumericAddress(const std::string& host);

// "host", "host:port", "[v6]:port", "v6". Errors: kInvalid with the text.
Result<wire::Address> ParseHostPort(std::string_view text, uint16_t default_port);
// All numeric addresses of a host name. Blocks (DNS, mDNS): never on the loop thread.
std::vector<wire::Address> Resolve(const std::string& host, uint16_t port);

// A non-blocking listening socket. `host` empty: every interface, IPv6 and IPv4. Errors: kIo with
// what is taken.
Result<Fd> Listen(const std::string& host, uint16_t port);
// Begins a non-blocking connect; `bind_host` may be empty. Writable when it is over, see
// ConnectError.
Result<Fd> BeginConnect(const wire::Address& address, const std::string& bind_host);
// 0, or the errno with which the connect failed.
int ConnectError(int fd);
// Of a control session: no Nagle delay; keep-alive probes; ends when the peer's system has not
// taken data for kControlTimeout (the network is gone, or the process reads nothing: both are
// silence).
void SetControlOptions(int fd);
// Of a data link: the same without that limit, since the kernel counts a full receive window as
// silence and a stage that computes does not read. A host that vanished is found by the keep-alive
// probes of an idle link, and by membership, which then has the link shut down.
void SetLinkOptions(int fd);

// Whether the kernel took it: most options cost only speed where they are missing.
bool SetIntOption(int fd, int level, int option, int value);

// What the peer's system has acknowledged.
struct Delivery {
  double mbps = 0;  // 1e6 bits per second, while there was always more to send, the latest time
  uint64_t held_up_us = 0;  // since the start: for so long the peer had no room for more
};
// Unset: there was no such time, or the system does not say.
std::optional<Delivery> ReadDelivery(int fd);

// poll() until `deadline` in sys::Now time. Returns what poll returns; retries when interrupted.
int PollUntil(pollfd* fds, size_t count, Time deadline);

}  // namespace exo::net
