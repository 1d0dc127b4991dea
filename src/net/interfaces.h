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

namespace exo::net {

struct Interface {
  std::string name;
  int index = 0;
  bool loopback = false;
  SocketAddress address;  // IPv4 or IPv6, port 0
  in_addr broadcast{};    // IPv4 only; zero: none

  friend bool operator==(const Interface& a, const Interface& b) {
    return a.index == b.index && ToAddress(a.address) == ToAddress(b.address);
  }
};

// Interfaces that are up, one entry per IPv4 or IPv6 address.
std::vector<Interface> ListInterfaces();

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
