#include "net/better_path.h"

#include <gtest/gtest.h>

namespace exo::net {
namespace {

using enum wire::InterfaceKind;
using Interfaces = std::vector<wire::InterfaceRecord>;

const Interfaces kDesk = {{"eth0", kWired, "192.168.1.5", 24}, {"wg0", kTunnel, "10.8.0.1", 24}};
const Interfaces kLaptop = {{"eth1", kWired, "192.168.1.6", 24},
                            {"wlan0", kWireless, "192.168.1.7", 24},
                            {"wg0", kTunnel, "10.8.0.2", 24},
                            {"docker0", kVirtual, "172.17.0.1", 16}};

TEST(BetterPathTest, ARadioBesideACableIsFoundFromBothEnds) {
  const auto from_desk = FindBetterPath(kDesk, kLaptop, {"192.168.1.5", "192.168.1.7"});
  ASSERT_TRUE(from_desk);
  EXPECT_EQ(from_desk->now, kWireless);
  EXPECT_EQ(from_desk->now_name, "wlan0");
  EXPECT_FALSE(from_desk->now_is_own);
  EXPECT_EQ(from_desk->own.name, "eth0");
  EXPECT_EQ(from_desk->other.host, "192.168.1.6");
  const auto from_laptop = FindBetterPath(kLaptop, kDesk, {"192.168.1.7", "192.168.1.5"});
  ASSERT_TRUE(from_laptop);
  EXPECT_TRUE(from_laptop->now_is_own);
  EXPECT_EQ(from_laptop->own.name, "eth1");
}

TEST(BetterPathTest, ATunnelIsWorseThanARadio) {
  const Interfaces radio = {{"wlan0", kWireless, "192.168.1.9", 24},
                            {"wg0", kTunnel, "10.8.0.3", 24}};
  const auto better = FindBetterPath(kDesk, radio, {"10.8.0.1", "10.8.0.3"});
  ASSERT_TRUE(better);
  EXPECT_EQ(better->now, kTunnel);
  EXPECT_EQ(better->other.name, "wlan0");
}

TEST(BetterPathTest, NothingIsSaidWithoutAnotherWay) {
  EXPECT_FALSE(FindBetterPath(kDesk, kLaptop, {"192.168.1.5", "192.168.1.6"})) << "on the cable";
  EXPECT_FALSE(FindBetterPath(kDesk, kLaptop, {"192.168.1.5", "203.0.113.9"})) << "not known";
  Interfaces far = kLaptop;
  far[0].host = "192.168.2.6";
  far[1].host = "192.168.2.7";
  EXPECT_FALSE(FindBetterPath(kDesk, far, {"10.8.0.1", "10.8.0.2"})) << "another network";
  Interfaces narrow = kLaptop;
  narrow[0].prefix = 30;
  EXPECT_FALSE(FindBetterPath(kDesk, narrow, {"192.168.1.5", "192.168.1.7"}));
  const Interfaces bridge = {{"docker0", kVirtual, "172.17.0.1", 16},
                             {"wlan0", kWireless, "192.168.1.8", 24}};
  EXPECT_FALSE(FindBetterPath(bridge, kLaptop, {"192.168.1.8", "192.168.1.7"}))
      << "the same address on each of the two";
  const Interfaces local = {{"eth0", kWired, "fe80::1%eth0", 64},
                            {"wlan0", kWireless, "fd00::1", 64}};
  const Interfaces others = {{"eth0", kWired, "fe80::2%eth0", 64},
                             {"wlan0", kWireless, "fd00::2", 64}};
  EXPECT_FALSE(FindBetterPath(local, others, {"fd00::1", "fd00::2"})) << "link-local addresses";
}

TEST(BetterPathTest, NetworksOfIpv6CountToo) {
  const Interfaces one = {{"eth0", kWired, "fd00:1::5", 64}, {"wlan0", kWireless, "fd00:2::5", 64}};
  const Interfaces two = {{"eth0", kWired, "fd00:1::6", 64}, {"wlan0", kWireless, "fd00:2::6", 64}};
  const auto better = FindBetterPath(one, two, {"fd00:2::5", "fd00:2::6"});
  ASSERT_TRUE(better);
  EXPECT_EQ(better->other.host, "fd00:1::6");
  // A session between link-local addresses, whose zones each end names for itself.
  Interfaces desk = kDesk, laptop = kLaptop;
  desk.push_back({"eth0", kWired, "fe80::5%eth0", 64});
  laptop.push_back({"wlan0", kWireless, "fe80::7%wlan0", 64});
  const auto found = FindBetterPath(desk, laptop, {"fe80::5%eth0", "fe80::7%eth0"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->now_name, "wlan0");
  EXPECT_EQ(found->other.host, "192.168.1.6");
}

}  // namespace
}  // namespace exo::net
