// What a running node's doctor says of the cluster.
#include <fmt/ranges.h>

#include <algorithm>

#include "base/units.h"
#include "node/doctor.h"

namespace exo::node {
namespace {

constexpr uint32_t kAnyWithheld = 25;  // percent; less is not worth a word
// Of two clocks. Nobody changes a chat on two devices within less, so that the order stays right.
constexpr std::chrono::seconds kClocksApart(5);

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

std::string NameOf(const MemberSight& member) {
  return member.name.empty() ? member.id.substr(0, 8) : member.name;
}

Finding JudgeOtherProtocol(const MemberSight& member, const std::string& self) {
  const std::string who = NameOf(member);
  Finding finding{"members", FindingState::kProblem,
                  fmt::format("{} has another version of exo", who), member.detail,
                  "update exo on the device with the older version (exo --version)"};
  if (member.protocols.newest == 0) return finding;
  const bool it_is_older = member.protocols.newest < wire::kProtocolVersion;
  finding.detail =
      fmt::format("{} speaks {}, this device ({}) {}: they do not understand each other", who,
                  TextOf(member.protocols), self, TextOf(wire::kProtocols));
  finding.fix = it_is_older ? fmt::format("update exo on {}, which has the older version", who)
                            : fmt::format(
                                  "update exo on this device ({}), which has the older "
                                  "version",
                                  self);
  return finding;
}

Finding JudgeRefused(const MemberSight& member, const std::string& self) {
  const auto refused = [&](std::string fix) {
    return Finding{"members", FindingState::kProblem,
                   fmt::format("{} is not let in", NameOf(member)), member.detail, std::move(fix)};
  };
  switch (member.refusal) {
    case wire::RefusalCode::kVersion:
      return JudgeOtherProtocol(member, self);
    case wire::RefusalCode::kNumerics:
      return refused("install the same version of exo on both (exo --version)");
    case wire::RefusalCode::kKeyInUse:
      return refused("stop exo on one of the two, delete key.pem in its data folder, and start it");
    case wire::RefusalCode::kBusy:
      return refused("stop exo on a device that is not needed, or forget it: exo forget NAME");
    case wire::RefusalCode::kNotMember:
    case wire::RefusalCode::kDuplicate:
    case wire::RefusalCode::kUnknownPlan:
      break;
  }
  return refused(
      "if it is yours: exo invite on one of the two, exo join CODE on the other; a device that was "
      "forgotten needs a new key first: exo rotate-key on it, and start exo there again");
}

// Nothing where it is as it should be.
std::optional<Finding> JudgeMember(const MemberSight& member, const std::string& self) {
  const std::string who = NameOf(member);
  if (member.state == "refused") return JudgeRefused(member, self);
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
  const std::string self = sight.members.empty() ? "" : NameOf(sight.members[0]);
  for (const MemberSight& member : sight.members) {
    here += member.state == "self" || member.state == "alive" ? 1 : 0;
    if (auto finding = JudgeMember(member, self)) findings.push_back(*std::move(finding));
  }
  if (findings.size() == before) {
    findings.push_back(Fine("members", "every device that is known is here",
                            here == 1 ? "this device is alone; exo invite adds another"
                                      : fmt::format("{} devices", here)));
  }
}

const char* WordOf(wire::InterfaceKind kind) {
  switch (kind) {
    case wire::InterfaceKind::kTunnel:
      return "a tunnel";
    case wire::InterfaceKind::kWireless:
      return "Wi-Fi";
    default:
      return "a cable";
  }
}

// "0.31 ms (99 %: 0.90 ms), 940 Mb/s there, 930 Mb/s back"
std::string FiguresOf(const MemberSight& member) {
  const auto& one = member.there ? member.there : member.back;
  std::string text = fmt::format("{:.2f} ms (99 %: {:.2f} ms)", one->rtt_ms, one->rtt_p99_ms);
  if (member.there && member.there->mbps > 0)
    text += fmt::format(", {:.0f} Mb/s there", member.there->mbps);
  if (member.back && member.back->mbps > 0)
    text += fmt::format(", {:.0f} Mb/s back", member.back->mbps);
  return text;
}

Finding DetourOf(const MemberSight& member, const std::string& self) {
  const net::BetterPath& better = *member.better;
  const std::string who = NameOf(member);
  std::string detail = fmt::format(
      "both are in one network over {} ({} {} here, {} {} there), but they talk over {} of {}",
      WordOf(better.own.kind == wire::InterfaceKind::kWired ? better.other.kind : better.own.kind),
      better.own.name, better.own.host, better.other.name, better.other.host, better.now_name,
      better.now_is_own ? self : who);
  if (member.there || member.back) detail += fmt::format("; measured: {}", FiguresOf(member));
  return {
      "links", FindingState::kWarning,
      fmt::format("{} is reached over {}, though there is a faster way", who, WordOf(better.now)),
      detail,
      fmt::format(
          "turn {} off on {} for a moment: exo connects again over the other way; or "
          "name it: exo up --peer {}",
          better.now_name, better.now_is_own ? self : who,
          member.better_address.host.contains(':')
              ? fmt::format("[{}]:{}", member.better_address.host, member.better_address.port)
              : fmt::format("{}:{}", member.better_address.host, member.better_address.port))};
}

void JudgeLinks(const ClusterSight& sight, std::vector<Finding>& findings) {
  const std::string self = sight.members.empty() ? "" : NameOf(sight.members[0]);
  std::string measured;
  bool detour = false;
  for (const MemberSight& member : sight.members) {
    if (member.better) {
      findings.push_back(DetourOf(member, self));
      detour = true;
    } else if (member.there || member.back) {
      measured +=
          fmt::format("{}{}: {}", measured.empty() ? "" : "; ", NameOf(member), FiguresOf(member));
    }
  }
  if (!detour && !measured.empty())
    findings.push_back(Fine("links", "sessions take the fastest way that is known", measured));
}

// "90 s", "12 min", "3 h", "2 days"
std::string ClockText(std::chrono::milliseconds apart) {
  using std::chrono::round, std::chrono::seconds, std::chrono::minutes, std::chrono::hours,
      std::chrono::days;
  if (apart < minutes(2)) return fmt::format("{} s", round<seconds>(apart).count());
  if (apart < hours(2)) return fmt::format("{} min", round<minutes>(apart).count());
  if (apart < days(2)) return fmt::format("{} h", round<hours>(apart).count());
  return fmt::format("{} days", round<days>(apart).count());
}

// Where most others differ from this device alike, it is this one's clock that is wrong.
void JudgeClocks(const ClusterSight& sight, std::vector<Finding>& findings) {
  constexpr const char* kId = "clocks";
  constexpr const char* kWhy =
      "of two changes to a chat the later one by the clocks stays, so that a wrong clock lets the "
      "older one win";
  std::vector<const MemberSight*> known, apart;
  for (const MemberSight& member : sight.members) {
    if (!member.clock_ahead) continue;
    known.push_back(&member);
    if (std::chrono::abs(*member.clock_ahead) >= kClocksApart) apart.push_back(&member);
  }
  const auto say = [&](const std::string& whose, const std::string& than,
                       std::chrono::milliseconds ahead, const std::string& where) {
    findings.push_back(
        {kId, FindingState::kWarning,
         fmt::format("the clock of {} is {} {} {}", whose, ClockText(std::chrono::abs(ahead)),
                     ahead.count() > 0 ? "ahead of" : "behind", than),
         kWhy, fmt::format("on {}: timedatectl set-ntp true", where)});
  };
  const auto alike = [&](const MemberSight* one) {
    return std::chrono::abs(*one->clock_ahead - *apart[0]->clock_ahead) < kClocksApart;
  };
  if (apart.size() >= 2 && 2 * apart.size() > known.size() && std::ranges::all_of(apart, alike))
    return say("this device", "those of the others", -*apart[0]->clock_ahead, "this device");
  for (const MemberSight* member : apart) {
    say(NameOf(*member), "this device's", *member->clock_ahead,
        fmt::format("{}, if this device's clock is right (date)", NameOf(*member)));
  }
  if (apart.empty() && !known.empty())
    findings.push_back(Fine(kId, "the clocks of all devices agree", ""));
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
  JudgeLinks(sight, findings);
  JudgeClocks(sight, findings);
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
