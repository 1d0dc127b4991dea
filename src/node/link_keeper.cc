#include "node/link_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace exo::node {
namespace {

// A session is young: records, trust and conversations go over it first.
constexpr Time kFirst = std::chrono::seconds(1);
// By then a device that has just started has read its models' files.
constexpr Time kStarted = std::chrono::seconds(15);
// Networks change with the furniture and the neighbors.
constexpr Time kAgain = std::chrono::hours(1);
constexpr Time kAfterFailure = std::chrono::minutes(5);
// Heartbeats may ask for it as often.
constexpr Time kSoonest = std::chrono::seconds(10);

}  // namespace

std::string LinkKeeper::KeyOf(const NodeId& peer, const Path& path) {
  return fmt::format("link/1/{}/{}/{}", peer.Hex(), path.local, path.remote);
}

std::string LinkKeeper::TextOf(const Stored& stored) {
  return fmt::format("{} {} {} {}", stored.figures.rtt_ms, stored.figures.rtt_p99_ms,
                     stored.figures.mbps, stored.measured_s);
}

std::optional<LinkKeeper::Stored> LinkKeeper::Read(const std::string& text) {
  Stored stored;
  LinkFigures& figures = stored.figures;
  unsigned long long measured_s = 0;
  if (std::sscanf(text.c_str(), "%lf %lf %lf %llu", &figures.rtt_ms, &figures.rtt_p99_ms,
                  &figures.mbps, &measured_s) != 4 ||
      !(figures.rtt_ms > 0) || !(figures.rtt_p99_ms >= figures.rtt_ms) || !(figures.mbps >= 0))
    return std::nullopt;
  stored.measured_s = measured_s;
  return stored;
}

LinkKeeper::Link* LinkKeeper::Find(const NodeId& peer, const Path& path) {
  const auto at = links_.find(peer);
  return at == links_.end() || at->second.path != path ? nullptr : &at->second;
}

void LinkKeeper::OnUp(const NodeId& peer, const Path& path, Time now, Time spread) {
  const Time at = now + kFirst + spread;
  links_[peer] = {
      .path = path, .small_at = at, .large_at = at, .calm_at = now + kStarted, .soonest = at};
}

void LinkKeeper::Restore(const NodeId& peer, const Path& path, const Stored& stored,
                         uint64_t wall_s, Time now) {
  Link* link = Find(peer, path);
  if (link == nullptr || link->measured_s != 0) return;
  link->live.SetMeasured(stored.figures, 0);
  link->measured_s = stored.measured_s;
  const std::chrono::seconds age(
      static_cast<int64_t>(wall_s - std::min(wall_s, stored.measured_s)));
  if (stored.figures.mbps > 0 && age < kAgain)
    link->large_at = std::max(link->large_at, now + kAgain - age);
}

std::optional<LinkKeeper::Job> LinkKeeper::Next(Time now,
                                                const std::map<NodeId, bool>& quiet) const {
  std::optional<Job> next;
  Time longest{};
  for (const auto& [peer, link] : links_) {
    const auto at = quiet.find(peer);
    const bool is_quiet = at != quiet.end() && at->second;
    const bool large = is_quiet && now >= link.large_at;
    const Time calm = is_quiet && now >= link.calm_at ? link.calm_at : Time::max();
    const Time due = std::min({link.small_at, large ? link.large_at : Time::max(), calm});
    if (now < due) continue;
    if (next && due >= longest) continue;
    longest = due;
    next = Job{peer, link.path, large, is_quiet};
  }
  return next;
}

void LinkKeeper::OnMeasured(const Job& job, const std::optional<Stored>& stored,
                            double heartbeat_ms, Time now) {
  Link* link = Find(job.peer, job.path);
  if (link == nullptr) return;  // it has gone, or takes another way
  link->soonest = now + kSoonest;
  link->small_at = now + (stored ? kAgain : kAfterFailure);
  if (!stored) {
    link->large_at = link->calm_at = link->small_at;
    return;
  }
  if (stored->figures.mbps > 0) {
    link->large_at = now + kAgain;
  } else if (job.large) {
    link->large_at = now + kSoonest;  // somebody began to compute meanwhile
  }
  LinkFigures figures = stored->figures;
  const bool stayed_quiet = job.quiet && !(job.large && figures.mbps == 0);
  if (stayed_quiet && now >= link->calm_at) link->calm_at = Time::max();
  if (!stayed_quiet) {
    // How long the longest frames took says how busy the ends are.
    const Time soon = now + kSoonest;
    link->calm_at = link->calm_at == Time::max() ? soon : std::max(link->calm_at, soon);
    if (const double known = link->live.known().rtt_p99_ms; known > 0)
      figures.rtt_p99_ms = std::max(figures.rtt_ms, std::min(figures.rtt_p99_ms, known));
  }
  link->live.SetMeasured(figures, heartbeat_ms);
  link->measured_s = stored->measured_s;
}

bool LinkKeeper::LearnMbps(const NodeId& peer, double mbps, uint64_t wall_s) {
  const auto at = links_.find(peer);
  // What was never measured has no round trip yet either.
  if (at == links_.end() || at->second.measured_s == 0 || !at->second.live.LearnMbps(mbps))
    return false;
  at->second.measured_s = wall_s;
  return true;
}

void LinkKeeper::LearnHeartbeat(const NodeId& peer, double rtt_ms, Time now) {
  const auto at = links_.find(peer);
  if (at == links_.end() || now < at->second.soonest || !at->second.live.IsAnother(rtt_ms)) return;
  at->second.small_at = std::min(at->second.small_at, now);
  at->second.large_at = std::min(at->second.large_at, now);
}

std::vector<wire::LinkRecord> LinkKeeper::Records() const {
  std::vector<wire::LinkRecord> records;
  for (const auto& [peer, link] : links_) {
    if (link.measured_s == 0) continue;
    const LinkFigures& known = link.live.known();
    records.push_back({.to = peer,
                       .host = link.path.local,
                       .rtt_ms = known.rtt_ms,
                       .rtt_p99_ms = known.rtt_p99_ms,
                       .mbps = known.mbps,
                       .measured_s = link.measured_s});
  }
  return records;
}

std::optional<LinkKeeper::Path> LinkKeeper::PathOf(const NodeId& peer) const {
  const auto at = links_.find(peer);
  return at == links_.end() ? std::nullopt : std::optional(at->second.path);
}

}  // namespace exo::node
