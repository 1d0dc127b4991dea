// What a running node's doctor says of the cluster.
#include <fmt/ranges.h>

#include "base/units.h"
#include "node/doctor.h"

namespace exo::node {
namespace {

constexpr uint32_t kAnyWithheld = 25;  // percent; less is not worth a word

Finding Fine(const char* id, std::string title, std::string detail) {
  return {.id = id, .title = std::move(title), .detail = std::move(detail)};
}

const char* MdnsText(const ClusterSight& sight) {
  return sight.discovery.mdns ? "mDNS is on" : "mDNS is off";
}

Finding JudgeDiscovery(const ClusterSight& sight) {
  constexpr const char* kId = "discovery";
  const std::string fix = fmt::format(
      "allow UDP {} and 5353 (mDNS) in this device's firewall, or name another device: exo up "
      "--peer HOST:PORT",
      sight.discovery.beacon_port);
  if (sight.loopback_only)
    return Fine(kId, "only this machine's own nodes are looked for", "`loopback` is set");
  if (!sight.discovery_wanted) {
    return Fine(kId, "other devices are not looked for",
                sight.static_peers ? "`discovery` is off, `peers` names them"
                                   : "`discovery` is off, and `peers` names none");
  }
  if (sight.interfaces == 0) {
    return {kId, FindingState::kProblem, "this device is on no network",
            "it has no address but the loopback interface's",
            "connect it to the network of the other devices"};
  }
  if (!sight.discovery.beacon_error.empty() && !sight.discovery.mdns) {
    return {kId, FindingState::kProblem, "other devices cannot be looked for",
            fmt::format("{}; mDNS: {}", sight.discovery.beacon_error, sight.discovery.mdns_error),
            fix};
  }
  if (!sight.discovery.send_error.empty()) {
    return {kId, FindingState::kProblem, "announcements do not leave this device",
            fmt::format("{} (UDP {})", sight.discovery.send_error, sight.discovery.beacon_port),
            fix};
  }
  if (!sight.discovery.hears_itself) {
    return {kId, FindingState::kWarning, "multicast is blocked",
            fmt::format("this device does not even hear its own announcements (UDP {}), so it "
                        "hears no others either; {}",
                        sight.discovery.beacon_port, MdnsText(sight)),
            fix};
  }
  return Fine(
      kId, "other devices are looked for",
      fmt::format("announcements go out on {} addresses; {} members heard in the last "
                  "minute; {}",
                  sight.discovery.addresses, sight.discovery.heard.size(), MdnsText(sight)));
}

Finding JudgePort(const ClusterSight& sight) {
  constexpr const char* kId = "port";
  if (!sight.own_unreached.empty()) {
    return {
        kId, FindingState::kProblem, "the port for other devices is closed",
        fmt::format("this device does not reach itself: {}", fmt::join(sight.own_unreached, ", ")),
        fmt::format("allow TCP {} in this device's firewall, for example: ufw allow {}/tcp",
                    sight.port, sight.port)};
  }
  if (!sight.heard_unreached.empty()) {
    return {kId, FindingState::kProblem, "a member is heard and cannot be reached",
            fmt::format("it announces itself, but its port does not answer: {}",
                        fmt::join(sight.heard_unreached, ", ")),
            "allow that TCP port in the firewall of that device"};
  }
  return Fine(kId, "the port for other devices is open", fmt::format("TCP {}", sight.port));
}

// Of a member that is not here.
std::string AwayText(const std::string& state) {
  if (state == "left") return "it was stopped";
  if (state == "connecting") return "its connection is being made";
  if (state == "suspect") return "it has fallen silent";
  return "it does not answer";
}

// Nothing where it is as it should be.
std::optional<Finding> JudgeMember(const MemberSight& member) {
  const std::string who = member.name.empty() ? member.id.substr(0, 8) : member.name;
  if (member.state == "refused") {
    return Finding{"members", FindingState::kProblem, fmt::format("{} is not let in", who),
                   member.detail,
                   "the same version of exo on all devices, and one cluster (exo invite there, exo "
                   "join here), helps in most cases; a device that was removed needs a new key "
                   "first: stop exo on it and delete key.pem in its data folder"};
  }
  if (member.state != "self" && member.state != "alive") {
    std::string detail = AwayText(member.state);
    if (!member.detail.empty()) detail += fmt::format(" ({})", member.detail);
    if (!member.reasons.empty())
      detail += fmt::format("; tried {}", fmt::join(member.reasons, ", "));
    return Finding{"members", FindingState::kWarning, fmt::format("{} is not here", who), detail,
                   fmt::format("start exo on it, or see whether it is on this network; exo forget "
                               "{} if it will not come back",
                               who)};
  }
  if (!member.same_arithmetic) {
    return Finding{"members", FindingState::kProblem, fmt::format("{} computes other bits", who),
                   "its numerics id is not this device's, so that no model runs on both",
                   "install the same version of exo on both (exo --version)"};
  }
  if (member.withheld < kAnyWithheld) return std::nullopt;
  return Finding{
      "speed", FindingState::kWarning,
      fmt::format("{} gives {} % of its speed", who, wire::kAllWithheld - member.withheld),
      member.health,
      "plug it in, cool it, or see battery_share, hot_share, owner_share and hours in "
      "its exo.toml"};
}

void JudgeMembers(const ClusterSight& sight, std::vector<Finding>& findings) {
  const size_t before = findings.size();
  size_t here = 0;
  for (const MemberSight& member : sight.members) {
    here += member.state == "self" || member.state == "alive" ? 1 : 0;
    if (auto finding = JudgeMember(member)) findings.push_back(*std::move(finding));
  }
  if (findings.size() == before) {
    findings.push_back(Fine("members", "every device that is known is here",
                            here == 1 ? "this device is alone; exo invite adds another"
                                      : fmt::format("{} devices", here)));
  }
}

void JudgeTrust(const ClusterSight& sight, std::vector<Finding>& findings) {
  constexpr const char* kId = "trust";
  for (const std::string& device : sight.pending) {
    findings.push_back({kId, FindingState::kWarning, "a device asks to be let in", device,
                        fmt::format("exo approve {}, if it is yours", device.substr(0, 16))});
  }
  if (sight.strangers > 0) {
    findings.push_back({kId, FindingState::kWarning,
                        fmt::format("{} device{} of other clusters nearby", sight.strangers,
                                    sight.strangers == 1 ? "" : "s"),
                        "exo on another device that is not a part of this cluster; it sees and "
                        "computes nothing of yours",
                        "if it is yours: exo invite here, and exo join CODE there"});
  }
}

Finding JudgeModelMemory(const ClusterSight& sight) {
  constexpr const char* kId = "memory for models";
  const std::string detail =
      fmt::format("{} of {} for models, {} of it taken", FormatSize(sight.memory_budget),
                  FormatSize(sight.memory_total), FormatSize(sight.memory_reserved));
  if (sight.memory_reserved > sight.memory_budget) {
    return {kId, FindingState::kProblem, "models take more memory than there is for them", detail,
            "free one (exo stop MODEL), or raise memory_limit"};
  }
  if (sight.memory_limit && *sight.memory_limit > sight.memory_total) {
    return {kId, FindingState::kWarning, "memory_limit is more than this device has",
            fmt::format("{}; the setting says {}", detail, FormatSize(*sight.memory_limit)),
            "lower memory_limit: beyond the memory everything is swapped"};
  }
  if (sight.smallest_model && *sight.smallest_model > sight.memory_budget) {
    return {kId, FindingState::kWarning, "no model fits into this device alone",
            fmt::format("{}; the smallest takes {}", detail, FormatSize(*sight.smallest_model)),
            "raise memory_limit, pull a smaller one, or add a device: exo invite"};
  }
  return Fine(kId, "there is memory for models", detail);
}

void JudgeModels(const ClusterSight& sight, std::vector<Finding>& findings) {
  constexpr const char* kId = "models";
  for (const std::string& model : sight.broken_models) {
    findings.push_back({kId, FindingState::kProblem, "a model's file cannot be used", model,
                        "bring the file back, or forget it: exo rm PATH"});
  }
  for (const std::string& model : sight.failing_models) {
    findings.push_back({kId, FindingState::kProblem, "a model should run and does not", model,
                        "exo plan MODEL says where it would fit; exo stop MODEL gives it up"});
  }
  if (sight.broken_models.empty() && sight.failing_models.empty())
    findings.push_back(Fine(kId, "all models that are known can be used", ""));
}

}  // namespace

std::vector<Finding> JudgeCluster(const ClusterSight& sight) {
  std::vector<Finding> findings = {JudgeDiscovery(sight), JudgePort(sight)};
  JudgeMembers(sight, findings);
  JudgeTrust(sight, findings);
  findings.push_back(JudgeModelMemory(sight));
  JudgeModels(sight, findings);
  if (sight.log_lines_lost > 0) {
    findings.push_back(
        {"log", FindingState::kWarning, "log lines were lost",
         fmt::format("{} could not be written to standard error", sight.log_lines_lost),
         "give the log a disk with room, or a reader that keeps up"});
  }
  return findings;
}

}  // namespace exo::node
