#include "app/cluster_file.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "base/units.h"

namespace exo::app {
namespace {

constexpr const char* kTwo = R"(
[network]
rtt_ms = 0.5
mbps = 940
[[device]]
name = "desk"
memory = "16 GiB"
decode_gbps = 30
prefill_gops = 400.5
[[device]]
name = "laptop"
memory = 1048576
decode_gbps = 20
prefill_gops = 200
disk_gbps = 0.5
guest = true
)";

std::string Refusal(const std::string& text) {
  const auto read = ParseCluster(text, "home.toml");
  EXPECT_FALSE(read) << text;
  return read ? "" : read.error().message;
}

TEST(ClusterFileTest, DevicesAndLinksAreNumbers) {
  const auto read = ParseCluster(
      std::string(kTwo) + "[[link]]\nbetween = [\"laptop\", \"desk\"]\nrtt_ms = 3\n", "home.toml");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 2u);
  const cluster::PlanNode &desk = (*read)[0], &laptop = (*read)[1];
  EXPECT_EQ(desk.name, "desk");
  EXPECT_EQ(desk.memory_available, 16 * kGiB);
  EXPECT_EQ(desk.prefill_gops, 400.5);
  EXPECT_EQ(laptop.memory_budget, kMiB);
  EXPECT_TRUE(laptop.guest);
  EXPECT_EQ(laptop.disk_gbps, 0.5);
  EXPECT_EQ(desk.disk_gbps, 0);
  EXPECT_NE(desk.id, laptop.id);
  // The link of its own replaces the network's, at both ends.
  ASSERT_EQ(desk.links.size(), 1u);
  EXPECT_EQ(desk.links[0].to, laptop.id);
  EXPECT_EQ(desk.links[0].rtt_ms, 3);
  EXPECT_EQ(desk.links[0].mbps, 0);
  ASSERT_EQ(laptop.links.size(), 1u);
  EXPECT_EQ(laptop.links[0].rtt_ms, 3);
  EXPECT_EQ(ParseCluster(kTwo, "home.toml")->at(0).links.at(0).mbps, 940);
}

TEST(ClusterFileTest, ALinkMayHaveATailAndTwoDirections) {
  const auto read = ParseCluster(std::string(kTwo) +
                                     "[[link]]\nbetween = [\"laptop\", \"desk\"]\nrtt_ms = 3\n"
                                     "rtt_p99_ms = 20\nmbps = 40\nmbps_back = 300\n",
                                 "home.toml");
  ASSERT_TRUE(read) << read.error().message;
  const cluster::PlanNode &desk = (*read)[0], &laptop = (*read)[1];
  EXPECT_EQ(laptop.links[0].mbps, 40);
  EXPECT_EQ(desk.links[0].mbps, 300);
  EXPECT_EQ(desk.links[0].rtt_p99_ms, 20);
  EXPECT_EQ(laptop.links[0].rtt_p99_ms, 20);
}

// The line, the key, what it says and what it should be.
TEST(ClusterFileTest, WhatIsWrongIsNamedWithItsLine) {
  const std::string device = "[[device]]\nname = \"a\"\nmemory = \"1g\"\nprefill_gops = 1\n";
  const std::string whole = device + "decode_gbps = 1\n";
  EXPECT_EQ(Refusal(""),
            "home.toml has no [[device]]: each needs name, memory, decode_gbps and "
            "prefill_gops");
  EXPECT_EQ(Refusal("device = 3\n").substr(0, 21), "home.toml has no [[de");
  EXPECT_EQ(Refusal("device = [3]\n"),
            "home.toml line 1: device is 3, but must be a table: write [[device]]");
  EXPECT_TRUE(Refusal("x = [\n").starts_with("home.toml line 1, column 7: "));
  EXPECT_EQ(Refusal(device), "home.toml line 1: this table has no decode_gbps");
  EXPECT_EQ(Refusal(device + "decode_gbps = -1\n"),
            "home.toml line 5: decode_gbps is -1, but must be a number above 0, 1000000 at most");
  for (const char* bad : {"\"fast\"", "nan", "inf", "true", "[1]", "1e300"}) {
    EXPECT_TRUE(Refusal(device + "decode_gbps = " + bad + "\n").contains("line 5: decode_gbps is"))
        << bad;
  }
  EXPECT_EQ(Refusal(whole + "speed = 1\n"), "home.toml line 6: a device has no 'speed'");
  EXPECT_EQ(Refusal(whole + "gest = true\n"),
            "home.toml line 6: a device has no 'gest'; did you mean 'guest'?");
  EXPECT_EQ(Refusal(whole + "guest = 1\n"),
            "home.toml line 6: guest is 1, but must be true or false");
  EXPECT_EQ(Refusal(whole + whole),
            "home.toml line 7: name is 'a', but must be another one than every other device's");
  EXPECT_EQ(Refusal(whole + "[network]\nrtt_ms = 0\n"),
            "home.toml line 7: rtt_ms is 0, but must be a number above 0, 100000 at most");
  const auto link = [&](const std::string& between) {
    return Refusal(whole + "[[link]]\nrtt_ms = 1\n" + between);
  };
  EXPECT_EQ(link(""), "home.toml line 6: this table has no between");
  EXPECT_EQ(link("between = [\"a\", \"b\"]\n"),
            "home.toml line 8: between is [ 'a', 'b' ], but must be two names of [[device]]s");
  EXPECT_EQ(link("between = [\"a\", \"a\"]\n"),
            "home.toml line 8: between is [ 'a', 'a' ], but must be two different devices");
  EXPECT_EQ(link("between = \"a\"\n"),
            "home.toml line 8: between is 'a', but must be two names of devices");
  for (const char* bad : {"\"much\"", "0", "-5", "1.5", "\"\""}) {
    EXPECT_TRUE(Refusal("[[device]]\nname = \"a\"\nmemory = " + std::string(bad) + "\n")
                    .starts_with("home.toml line 3: memory is "))
        << bad;
  }
  std::string many;
  for (int i = 0; i < 65; ++i) many += "[[device]]\n";
  EXPECT_EQ(Refusal(many), "home.toml has 65 devices (64 at most)");
}

// Whatever a file holds, it is read or refused in words.
TEST(ClusterFileTest, AnyTextIsReadOrRefused) {
  const std::string whole = std::string(kTwo) +
                            "[[link]]\nbetween = [\"desk\", \"laptop\"]\n"
                            "rtt_ms = 3\nmbps = 7\n";
  constexpr std::string_view kBytes = "[]{}=\"'\n.,#-+e01\\\x00\xff";
  Rng rng(7);
  size_t refused = 0;
  for (int trial = 0; trial < 500; ++trial) {
    std::string text = whole;
    for (uint64_t changes = 1 + rng.Below(4); changes > 0; --changes) {
      const size_t at = rng.Below(text.size());
      const char byte = kBytes[rng.Below(kBytes.size())];
      if (rng.Below(3) == 0) {
        text.erase(at, 1 + rng.Below(10));
      } else if (rng.Below(2) == 0) {
        text.insert(at, 1 + rng.Below(3), byte);
      } else {
        text[at] = byte;
      }
    }
    const auto read = ParseCluster(text, "home.toml");
    if (read) continue;
    ++refused;
    EXPECT_TRUE(read.error().message.starts_with("home.toml ")) << read.error().message;
  }
  EXPECT_GT(refused, 50u);
}

}  // namespace
}  // namespace exo::app
