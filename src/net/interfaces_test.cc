#include "net/interfaces.h"

#include <gtest/gtest.h>

#include "sys/fake/root.h"

namespace exo::net {
namespace {

TEST(InterfacesTest, TellsWhatIsBehindThem) {
  using enum wire::InterfaceKind;
  const sys::FakeRoot root;
  const auto add = [&](const std::string& name, const std::string& type,
                       const std::vector<std::string>& entries) {
    root.Write("sys/class/net/" + name + "/type", type + "\n");
    for (const std::string& entry : entries) root.Write("sys/class/net/" + name + "/" + entry, "");
  };
  add("eth0", "1", {"device"});
  add("wlan0", "1", {"device", "phy80211"});
  add("tap0", "1", {"tun_flags"});
  add("wg0", "65534", {});
  add("gre1", "778", {});
  add("veth7", "1", {});
  add("br0", "1", {"lower_eth0", "lower_veth7"});
  add("bond0", "1", {"lower_br0"});
  add("virbr0", "1", {"lower_tap0"});
  const auto kind = [&](const char* name) { return KindOfInterface(name, root.path()); };
  EXPECT_EQ(kind("eth0"), kWired);
  EXPECT_EQ(kind("wlan0"), kWireless);
  for (const char* tunnel : {"tap0", "wg0", "gre1"}) EXPECT_EQ(kind(tunnel), kTunnel) << tunnel;
  EXPECT_EQ(kind("br0"), kWired);
  EXPECT_EQ(kind("bond0"), kWired);
  for (const char* inside : {"veth7", "virbr0", "none"})
    EXPECT_EQ(kind(inside), kVirtual) << inside;
}

TEST(InterfacesTest, AddressesHaveTheirNetworks) {
  bool loopback = false;
  for (const Interface& one : ListInterfaces()) {
    EXPECT_GT(one.prefix, 0u) << one.name;
    EXPECT_LE(one.prefix, one.address.family() == AF_INET ? 32u : 128u) << one.name;
    loopback |= one.loopback && one.prefix == 8;
  }
  EXPECT_TRUE(loopback) << "127.0.0.1/8";
  for (const wire::InterfaceRecord& one : InterfaceRecords()) EXPECT_FALSE(IsLoopback(one.host));
}

}  // namespace
}  // namespace exo::net
