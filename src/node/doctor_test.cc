#include "node/doctor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/units.h"

namespace exo::node {
namespace {

DeviceSight Well() {
  return {.folder = "/home/me/exo",
          .rights = sys::PathRights{.mine = true, .writable = true, .mode = 0700},
          .disk = sys::DiskSpace{.total = 100 * kGiB, .free = 50 * kGiB},
          .memory = {.total = 16 * kGiB, .available = 8 * kGiB},
          .open_files = 4096,
          .clock_kept = true,
          .now = 1'800'000'000,
          .last_written = 1'799'999'999};
}
ClusterSight Home() {
  ClusterSight sight{
      .discovery = {.beacon_port = 52425, .mdns = true, .addresses = 2},
      .interfaces = 2,
      .port = 52416,
      .members = {{.name = "desk", .state = "self"}, {.name = "nas", .state = "alive"}},
      .memory_total = 16 * kGiB,
      .memory_budget = 12 * kGiB,
      .memory_reserved = kGiB,
      .smallest_model = kGiB};
  return sight;
}

// What is not well, as "id: title".
std::vector<std::string> Wrong(const std::vector<Finding>& findings) {
  std::vector<std::string> wrong;
  for (const Finding& one : findings) {
    if (one.state == FindingState::kOk) continue;
    EXPECT_NE(one.detail, "") << one.title;
    EXPECT_NE(one.fix, "") << one.title;
    wrong.push_back(one.id + ": " + one.title);
  }
  return wrong;
}
using Said = std::vector<std::string>;

TEST(DoctorTest, NothingIsWrongWithAWellDeviceAndHome) {
  EXPECT_EQ(Wrong(JudgeDevice(Well())), Said{});
  EXPECT_EQ(Wrong(JudgeCluster(Home())), Said{});
}

TEST(DoctorTest, TellsWhatIsWrongWithADevice) {
  const auto with = [](auto change) {
    DeviceSight sight = Well();
    change(sight);
    return Wrong(JudgeDevice(sight));
  };
  EXPECT_EQ(with([](auto& s) { s.rights->writable = false; }),
            Said{"folder: the data folder cannot be written"});
  EXPECT_EQ(with([](auto& s) { s.rights->mode = 0755; }),
            Said{"folder: other users of this machine can look into the data folder"});
  EXPECT_EQ(with([](auto& s) { s.open_secrets = {"key.pem"}; }),
            Said{"folder: other users of this machine can read its keys"});
  EXPECT_EQ(with([](auto& s) { s.disk->free = kMiB; }), Said{"disk: the disk is full"});
  EXPECT_EQ(with([](auto& s) { s.disk->free = kGiB; }), Said{"disk: the disk is nearly full"});
  EXPECT_EQ(with([](auto& s) {
              s.now = 1000;
              s.last_written = 0;
            }),
            Said{"clock: the clock was never set"});
  EXPECT_EQ(with([](auto& s) { s.last_written = s.now + 86'400; }),
            Said{"clock: the clock is wrong"});
  EXPECT_EQ(with([](auto& s) { s.open_files = 256; }),
            Said{"files: few files may be open at once"});
  EXPECT_EQ(with([](auto& s) { s.memory.available = kMiB; }),
            Said{"memory: the memory is nearly used up"});
}

TEST(DoctorTest, TellsWhatIsWrongWithTheNetwork) {
  const auto with = [](auto change) {
    ClusterSight sight = Home();
    change(sight);
    return Wrong(JudgeCluster(sight));
  };
  EXPECT_EQ(with([](auto& s) { s.interfaces = 0; }),
            Said{"discovery: this device is on no network"});
  EXPECT_EQ(with([](auto& s) { s.discovery.hears_itself = false; }),
            Said{"discovery: multicast is blocked"});
  EXPECT_EQ(with([](auto& s) { s.discovery.send_error = "eth0: Operation not permitted"; }),
            Said{"discovery: announcements do not leave this device"});
  EXPECT_EQ(with([](auto& s) {
              s.discovery = {.beacon_error = "UDP port 52425: taken", .mdns_error = "no bus"};
            }),
            Said{"discovery: other devices cannot be looked for"});
  EXPECT_EQ(with([](auto& s) { s.own_unreached = {"10.0.0.1:52416 (nothing answers)"}; }),
            Said{"port: the port for other devices is closed"});
  EXPECT_EQ(with([](auto& s) { s.heard_unreached = {"10.0.0.2:52416 (nothing answers)"}; }),
            Said{"port: a member is heard and cannot be reached"});
  EXPECT_EQ(with([](auto& s) { s.strangers = 2; }),
            Said{"trust: 2 devices of other clusters nearby"});
  EXPECT_EQ(with([](auto& s) { s.pending = {"0123456789abcdef (laptop)"}; }),
            Said{"trust: a device asks to be let in"});
}

Finding TheOnlyWrong(const ClusterSight& sight, const char* id) {
  std::vector<Finding> found;
  for (const Finding& one : JudgeCluster(sight)) {
    if (one.id == id && one.state != FindingState::kOk) found.push_back(one);
  }
  EXPECT_EQ(found.size(), 1u);
  return found.empty() ? Finding{} : found[0];
}

TEST(DoctorTest, SaysWhichDeviceHasTheOlderVersion) {
  ClusterSight sight = Home();
  MemberSight& nas = sight.members[1];
  nas.state = "refused";
  nas.detail = "as the other device said it";
  nas.refusal = wire::RefusalCode::kVersion;
  nas.protocols = {7, 9};
  Finding found = TheOnlyWrong(sight, "members");
  EXPECT_EQ(found.title, "nas has another version of exo");
  EXPECT_EQ(found.detail,
            "nas speaks protocols 7 to 9, this device (desk) protocol 3: they do not understand "
            "each other");
  EXPECT_EQ(found.fix, "update exo on this device (desk), which has the older version");
  nas.protocols = {1, 1};
  found = TheOnlyWrong(sight, "members");
  EXPECT_NE(found.detail.find("nas speaks protocol 1,"), std::string::npos);
  EXPECT_EQ(found.fix, "update exo on nas, which has the older version");
  nas.protocols = {};  // an old one that refused without a word about itself
  EXPECT_EQ(TheOnlyWrong(sight, "members").detail, "as the other device said it");
}

TEST(DoctorTest, AdvisesByTheReasonOfARefusal) {
  ClusterSight sight = Home();
  sight.members[1].state = "refused";
  sight.members[1].detail = "why";
  const auto fix = [&](wire::RefusalCode code) {
    sight.members[1].refusal = code;
    return TheOnlyWrong(sight, "members").fix;
  };
  EXPECT_NE(fix(wire::RefusalCode::kNotMember).find("exo rotate-key"), std::string::npos);
  EXPECT_NE(fix(wire::RefusalCode::kNumerics).find("same version"), std::string::npos);
  EXPECT_NE(fix(wire::RefusalCode::kKeyInUse).find("delete key.pem"), std::string::npos);
  EXPECT_NE(fix(wire::RefusalCode::kBusy).find("exo forget"), std::string::npos);
}

TEST(DoctorTest, TellsWhoseClockIsWrong) {
  using std::chrono::milliseconds, std::chrono::seconds;
  ClusterSight sight = Home();
  MemberSight& nas = sight.members[1];
  nas.clock_ahead = milliseconds(4900);
  EXPECT_EQ(Wrong(JudgeCluster(sight)), Said{}) << "no chat is changed twice within that";
  nas.clock_ahead = seconds(90);
  Finding found = TheOnlyWrong(sight, "clocks");
  EXPECT_EQ(found.title, "the clock of nas is 90 s ahead of this device's");
  EXPECT_EQ(found.fix, "on nas, if this device's clock is right (date): timedatectl set-ntp true");
  nas.clock_ahead = -std::chrono::hours(50);
  EXPECT_EQ(TheOnlyWrong(sight, "clocks").title, "the clock of nas is 2 days behind this device's");
  // One of several is wrong; then this device is.
  sight.members.push_back({.name = "den", .state = "alive", .clock_ahead = milliseconds(0)});
  sight.members.push_back({.name = "attic", .state = "alive", .clock_ahead = -seconds(1)});
  EXPECT_EQ(TheOnlyWrong(sight, "clocks").title, "the clock of nas is 2 days behind this device's");
  sight.members[1].clock_ahead = sight.members[2].clock_ahead = std::chrono::minutes(3);
  sight.members[3].clock_ahead.reset();
  found = TheOnlyWrong(sight, "clocks");
  EXPECT_EQ(found.title, "the clock of this device is 3 min behind those of the others");
  EXPECT_EQ(found.fix, "on this device: timedatectl set-ntp true");
}

TEST(DoctorTest, TellsWhatIsWrongWithMembersAndModels) {
  const auto with = [](auto change) {
    ClusterSight sight = Home();
    change(sight);
    return Wrong(JudgeCluster(sight));
  };
  EXPECT_EQ(with([](auto& s) { s.members[1].state = "dead"; }), Said{"members: nas is not here"});
  EXPECT_EQ(with([](auto& s) {
              s.members[1].state = "refused";
              s.members[1].detail = "other version";
            }),
            Said{"members: nas is not let in"});
  EXPECT_EQ(with([](auto& s) { s.members[1].same_arithmetic = false; }),
            Said{"members: nas computes other bits"});
  EXPECT_EQ(with([](auto& s) {
              s.members[0].withheld = 50;
              s.members[0].health = "hot; offers 50 %";
            }),
            Said{"speed: desk gives 50 % of its speed"});
  EXPECT_EQ(with([](auto& s) { s.memory_reserved = 13 * kGiB; }),
            Said{"memory for models: models take more memory than there is for them"});
  EXPECT_EQ(with([](auto& s) { s.memory_limit = 64 * kGiB; }),
            Said{"memory for models: memory_limit is more than this device has"});
  EXPECT_EQ(with([](auto& s) { s.smallest_model = 13 * kGiB; }),
            Said{"memory for models: no model fits into this device alone"});
  EXPECT_EQ(with([](auto& s) { s.broken_models = {"/m/a.gguf: the file is gone"}; }),
            Said{"models: a model's file cannot be used"});
  EXPECT_EQ(with([](auto& s) { s.log_lines_lost = 3; }), Said{"log: log lines were lost"});
}

TEST(DoctorTest, TellsOfAWayThatIsSlowerThanItNeedsToBe) {
  using enum wire::InterfaceKind;
  ClusterSight sight = Home();
  MemberSight& nas = sight.members[1];
  nas.there = wire::LinkRecord{.rtt_ms = 3.1, .rtt_p99_ms = 12, .mbps = 45};
  nas.back = wire::LinkRecord{.rtt_ms = 3, .rtt_p99_ms = 11, .mbps = 40};
  EXPECT_EQ(Wrong(JudgeCluster(sight)), Said{});
  std::string fine;
  for (const Finding& one : JudgeCluster(sight)) fine += one.id == "links" ? one.detail : "";
  EXPECT_EQ(fine, "nas: 3.10 ms (99 %: 12.00 ms), 45 Mb/s there, 40 Mb/s back");
  nas.better = net::BetterPath{.now = kWireless,
                               .now_is_own = false,
                               .now_name = "wlan0",
                               .own = {"eth0", kWired, "192.168.1.5", 24},
                               .other = {"eth1", kWired, "192.168.1.6", 24}};
  nas.better_address = {"192.168.1.6", 52416};
  Finding found = TheOnlyWrong(sight, "links");
  EXPECT_EQ(found.title, "nas is reached over Wi-Fi, though there is a faster way");
  EXPECT_EQ(found.detail,
            "both are in one network over a cable (eth0 192.168.1.5 here, eth1 192.168.1.6 there), "
            "but they talk over wlan0 of nas; measured: 3.10 ms (99 %: 12.00 ms), 45 Mb/s there, "
            "40 Mb/s back");
  EXPECT_EQ(found.fix,
            "turn wlan0 off on nas for a moment: exo connects again over the other way; or name "
            "it: exo up --peer 192.168.1.6:52416");
  nas.better->now = kTunnel;
  nas.better->now_is_own = true;
  nas.better->other = {"wlan0", kWireless, "fd00::6", 64};
  nas.better_address = {"fd00::6", 52416};
  found = TheOnlyWrong(sight, "links");
  EXPECT_EQ(found.title, "nas is reached over a tunnel, though there is a faster way");
  EXPECT_TRUE(found.detail.contains("over Wi-Fi (")) << found.detail;
  EXPECT_TRUE(found.fix.starts_with("turn wlan0 off on desk")) << found.fix;
  EXPECT_TRUE(found.fix.ends_with("[fd00::6]:52416")) << found.fix;
}

}  // namespace
}  // namespace exo::node
