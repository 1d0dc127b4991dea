#include "net/interfaces.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cstring>

namespace exo::net {
namespace {
// A cable that is plugged in causes a dozen messages; the address is there after the last.
constexpr Time kSettle = std::chrono::milliseconds(500);
}  // namespace

std::vector<Interface> ListInterfaces() {
  std::vector<Interface> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
    const int family = at->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    Interface one;
    one.name = at->ifa_name;
    one.index = static_cast<int>(::if_nametoindex(at->ifa_name));
    one.loopback = (at->ifa_flags & IFF_LOOPBACK) != 0;
    one.address.size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::memcpy(&one.address.storage, at->ifa_addr, one.address.size);
    if (family == AF_INET && (at->ifa_flags & IFF_BROADCAST) != 0 && at->ifa_broadaddr != nullptr) {
      one.broadcast = reinterpret_cast<const sockaddr_in*>(at->ifa_broadaddr)->sin_addr;
    }
    if (one.index > 0) found.push_back(one);
  }
  ::freeifaddrs(list);
  return found;
}

InterfaceChanges::InterfaceChanges(EventLoop& loop, std::function<void()> changed)
    : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)),
      changed_(std::move(changed)),
      settle_(loop) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (!fd_.valid() ||
      ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return;
  watch_ = std::make_unique<FdWatch>(loop, fd_.get());
  watch_->OnReadable([this] { Drain(); });
}

void InterfaceChanges::Drain() {
  char scrap[8192];
  while (::recv(fd_.get(), scrap, sizeof(scrap), 0) > 0) {
  }
  if (!settle_.running()) settle_.Start(kSettle, [this] { changed_(); });
  watch_->OnReadable([this] { Drain(); });
}

}  // namespace exo::net
