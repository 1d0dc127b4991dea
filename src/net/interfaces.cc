#include "net/interfaces.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "sys/files.h"

namespace exo::net {
namespace {
// A cable that is plugged in causes a dozen messages; the address is there after the last.
constexpr Time kSettle = std::chrono::milliseconds(500);
// Ports of a port of a bridge: a VLAN on a bond.
constexpr int kMostLevels = 3;
// ARPHRD_TUNNEL to ARPHRD_IPGRE, ARPHRD_PPP, ARPHRD_NONE (WireGuard, tun).
bool IsTunnelType(long type) {
  return type == 512 || (type >= 768 && type <= 778 && type != 772) || type == 65534;
}

uint32_t BitsOf(const sockaddr* mask) {
  if (mask == nullptr) return 0;
  const auto count = [](const void* bytes, size_t size) {
    uint32_t bits = 0;
    for (size_t i = 0; i < size; ++i)
      bits += static_cast<uint32_t>(std::popcount(static_cast<const uint8_t*>(bytes)[i]));
    return bits;
  };
  if (mask->sa_family == AF_INET)
    return count(&reinterpret_cast<const sockaddr_in*>(mask)->sin_addr, sizeof(in_addr));
  return count(&reinterpret_cast<const sockaddr_in6*>(mask)->sin6_addr, sizeof(in6_addr));
}

wire::InterfaceKind KindOf(const std::string& name, const std::string& root, int level) {
  using enum wire::InterfaceKind;
  const std::string folder = root + "sys/class/net/" + name;
  if (sys::Exists(folder + "/tun_flags") ||
      IsTunnelType(std::strtol(sys::ReadFile(folder + "/type").value_or("0").c_str(), nullptr, 10)))
    return kTunnel;
  if (sys::Exists(folder + "/device")) {
    const bool radio = sys::Exists(folder + "/phy80211") || sys::Exists(folder + "/wireless");
    return radio ? kWireless : kWired;
  }
  if (level >= kMostLevels) return kVirtual;
  const std::string lower = "lower_";
  for (const std::string& entry : sys::ListFolder(folder)) {
    if (!entry.starts_with(lower)) continue;
    const wire::InterfaceKind kind = KindOf(entry.substr(lower.size()), root, level + 1);
    if (kind == kWired || kind == kWireless) return kind;  // a virtual machine's port is a tunnel
  }
  return kVirtual;
}
}  // namespace

wire::InterfaceKind KindOfInterface(const std::string& name, const std::string& root) {
  return KindOf(name, root, 0);
}

std::vector<wire::InterfaceRecord> InterfaceRecords() {
  std::vector<wire::InterfaceRecord> records;
  for (const Interface& one : ListInterfaces()) {
    if (one.loopback) continue;
    records.push_back({.name = one.name,
                       .kind = KindOfInterface(one.name),
                       .host = ToAddress(one.address).host,
                       .prefix = one.prefix});
  }
  return records;
}

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
    one.prefix = BitsOf(at->ifa_netmask);
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
