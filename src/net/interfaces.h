// The network interfaces of this machine, and news of their changes.
//
// Thread: loop (Changes); List from any.
#pragma once

#include <netinet/in.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/event_loop.h"
#include "net/socket.h"
#include "wire/messages.h"

namespace exo::net {

struct Interface {
  std::string name;
  int index = 0;
  bool loopback = false;
  SocketAddress address;  // IPv4 or IPv6, port 0
  uint32_t prefix = 0;    // bits of the address that name its network
  in_addr broadcast{};    // IPv4 only; zero: none

  friend bool operator==(const Interface& a, const Interface& b) {
    return a.index == b.index && ToAddress(a.address) == ToAddress(b.address);
  }
};

// Interfaces that are up, one entry per IPv4 or IPv6 address.
std::vector<Interface> ListInterfaces();

// What is behind an interface of this name, as /sys says; a bridge or bond is what its first port
// is. Virtual: nothing that leads out of this machine, or not known. `root`: where /sys lies, for
// tests.
wire::InterfaceKind KindOfInterface(const std::string& name, const std::string& root = "/");
// Those with an address that others may reach, as a record has them.
std::vector<wire::InterfaceRecord> InterfaceRecords();

// Calls back, at most twice a second, after a link or an address came or went. Does nothing where
// the system does not tell (no netlink).
class InterfaceChanges {
 public:
  InterfaceChanges(EventLoop& loop, std::function<void()> changed);

 private:
  void Drain();
  Fd fd_;
  std::function<void()> changed_;
  Timer settle_;
  std::unique_ptr<FdWatch> watch_;
};

}  // namespace exo::net
