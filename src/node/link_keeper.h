// What this node knows of its ways to the members that it has sessions with, and when it should
// measure one: soon after a session has come up, an hour later, and when heartbeats take another
// time than they did; one at a time, with large frames only while neither end computes. A device
// that is busy holds frames up: what was measured then, or while it started, is looked at again in
// a quiet moment.
//
// Thread: pure, one caller at a time (the loop).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/units.h"
#include "net/peers.h"
#include "node/live_link.h"
#include "wire/messages.h"

namespace exo::node {

class LinkKeeper {
 public:
  using Path = net::Peers::Path;
  // Figures, and when they were measured.
  struct Stored {
    LinkFigures figures;
    uint64_t measured_s = 0;  // since 1970
    friend bool operator==(const Stored&, const Stored&) = default;
  };
  // Under which a way's figures are kept in the state file, and how.
  static std::string KeyOf(const NodeId& peer, const Path& path);
  static std::string TextOf(const Stored& stored);
  static std::optional<Stored> Read(const std::string& text);

  // A session has come up, over this path; `spread`: a random time below a second or so, so that
  // not all measure at once.
  void OnUp(const NodeId& peer, const Path& path, Time now, Time spread);
  void OnDown(const NodeId& peer) { links_.erase(peer); }
  // What an earlier run has measured of the same path. Nothing happens where this run has measured.
  void Restore(const NodeId& peer, const Path& path, const Stored& stored, uint64_t wall_s,
               Time now);

  struct Job {
    NodeId peer;
    Path path;
    bool large = false;  // with large frames
    bool quiet = false;  // neither end computes
  };
  // Whom to measure now, if it is time for anybody. `quiet`: of the other end and this one.
  std::optional<Job> Next(Time now, const std::map<NodeId, bool>& quiet) const;
  // How a measurement has ended; none: it failed. `heartbeat_ms`: their round trip by now.
  void OnMeasured(const Job& job, const std::optional<Stored>& stored, double heartbeat_ms,
                  Time now);

  // From live traffic. True: what is known has changed.
  bool LearnMbps(const NodeId& peer, double mbps, uint64_t wall_s);
  void LearnHeartbeat(const NodeId& peer, double rtt_ms, Time now);

  // What the record says; only what was measured.
  std::vector<wire::LinkRecord> Records() const;
  std::optional<Path> PathOf(const NodeId& peer) const;

 private:
  struct Link {
    Path path;
    LiveLink live;
    uint64_t measured_s = 0;
    Time small_at{};  // when to measure with small frames again
    Time large_at{};  // likewise with large ones
    Time calm_at{};   // likewise with small ones, if both ends are quiet then
    Time soonest{};   // not before, whatever heartbeats say
  };
  Link* Find(const NodeId& peer, const Path& path);

  std::map<NodeId, Link> links_;
};

}  // namespace exo::node
