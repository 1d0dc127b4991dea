#include "fetch/address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

namespace exo::fetch {
namespace {

bool IsPublic(const std::string& text) {
  std::array<uint8_t, 16> bytes{};
  const bool v6 = text.find(':') != std::string::npos;
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, text.c_str(), bytes.data()), 1) << text;
  return IsPublicAddress(std::span(bytes).first(v6 ? 16 : 4));
}

TEST(AddressTest, WhatIsNotOnTheInternetIsNotPublic) {
  for (const char* text : {"0.0.0.0",
                           "0.1.2.3",
                           "10.0.0.1",
                           "100.64.0.1",
                           "100.127.255.255",
                           "127.0.0.1",
                           "127.9.9.9",
                           "169.254.169.254",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.0.0.1",
                           "192.168.1.1",
                           "198.19.0.1",
                           "224.0.0.251",
                           "240.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "::127.0.0.1",
                           "64:ff9b::192.168.0.1",
                           "64:ff9b:1::1",
                           "2002:7f00:1::",
                           "2001::1",
                           "2001:db8::1",
                           "fc00::1",
                           "fd12:3456::1",
                           "fe80::1",
                           "fec0::1",
                           "ff02::fb"})
    EXPECT_FALSE(IsPublic(text)) << text;
}

TEST(AddressTest, TheInternetIsPublic) {
  for (const char* text :
       {"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.1", "169.253.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255",
        "192.169.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2002:808:808::1"})
    EXPECT_TRUE(IsPublic(text)) << text;
}

TEST(AddressTest, OtherLengthsAreNoAddress) {
  const std::array<uint8_t, 17> bytes = {8, 8, 8, 8};
  for (size_t size : {0u, 1u, 3u, 5u, 15u, 17u})
    EXPECT_FALSE(IsPublicAddress(std::span(bytes).first(size)));
}

}  // namespace
}  // namespace exo::fetch
