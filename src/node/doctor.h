// `exo doctor`: from what was seen of a device and its cluster to sentences about what is wrong and
// what to do. Judging is pure; looking (LookAtDevice, LookAtNetwork) blocks.
//
// Thread: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/better_path.h"
#include "net/discovery.h"
#include "node/finding.h"
#include "sys/machine.h"
#include "sys/system.h"
#include "wire/messages.h"

namespace exo::node {

// What can be seen of a device, whether or not a node runs on it.
struct DeviceSight {
  std::string folder;                     // the data folder
  std::optional<sys::PathRights> rights;  // of it; unset: there is none
  std::vector<std::string> open_secrets;  // files in it that others may read and should not
  std::optional<sys::DiskSpace> disk;
  sys::MemoryInfo memory;
  uint64_t open_files = 0;  // limit; 0: not known
  std::optional<bool> clock_kept;
  int64_t now = 0;           // seconds since 1970, as the clock says
  int64_t last_written = 0;  // of the newest file in the folder
};
DeviceSight LookAtDevice(const std::string& folder);
std::vector<Finding> JudgeDevice(const DeviceSight& sight);

struct MemberSight {
  std::string name;
  std::string id;
  std::string state, detail;  // as in NodeView
  // Of a refused one: why, and what it speaks (newest 0: not told).
  wire::RefusalCode refusal = wire::RefusalCode::kNotMember;
  wire::Protocols protocols;
  // How far its clock is ahead of this device's, at the least. Unset: not known.
  std::optional<std::chrono::milliseconds> clock_ahead;
  bool same_arithmetic = true;
  std::vector<std::string> reasons;  // why its addresses do not answer: "10.0.0.2:52416 (refused)"
  uint32_t withheld = 0;             // percent of its speed
  std::string health;                // in words
  // The way to it, as this device has measured it, and as it has measured the way back. Unset: not
  // yet.
  std::optional<wire::LinkRecord> there, back;
  // A faster way than that of its session, and the address where it would be met on it.
  std::optional<net::BetterPath> better;
  wire::Address better_address;
};
// What a running node sees of itself and its cluster.
struct ClusterSight {
  bool discovery_wanted = true;
  bool loopback_only = false;
  bool static_peers = false;  // `peers` is set
  net::DiscoveryReport discovery;
  size_t interfaces = 0;  // addresses that are not loopback
  uint16_t port = 0;      // for devices
  // Own addresses that do not answer on that port, and heard ones likewise, with the reason.
  std::vector<std::string> own_unreached, heard_unreached;
  std::vector<MemberSight> members;  // this device first
  std::vector<std::string> pending;  // ids and names of who asks to be let in
  uint32_t strangers = 0;            // devices of other clusters nearby
  uint64_t memory_total = 0, memory_budget = 0, memory_reserved = 0;
  std::optional<uint64_t> memory_limit;     // the setting
  std::optional<uint64_t> smallest_model;   // bytes, of those that are known
  std::vector<std::string> broken_models;   // "name: why it cannot be used"
  std::vector<std::string> failing_models;  // "name: why it does not run although it should"
  uint64_t log_lines_lost = 0;
};
std::vector<Finding> JudgeCluster(const ClusterSight& sight);

// Of each list, which of its addresses do not answer by TCP, with the reason. Blocks for a second
// at most.
using AddressLists = std::vector<std::vector<wire::Address>>;
std::vector<std::vector<std::string>> Unreached(const AddressLists& lists);

}  // namespace exo::node
