// Whether the devices of a running plan and the answers that it gives at once are still what it was
// made for, and whether another plan is worth a move. One of its devices counts as changed when its
// speed has been off by a quarter for Timers::drift, when its link has become slower by a quarter
// of the time for a token, or when it begins or ceases to take part; so does any other device that
// gives more of itself than it did. Twice as many answers count after Timers::drift, half as many
// after Timers::move_again: what comes in bursts is planned for as a burst.
//
// A move costs a load and the KV of what is being answered, so it must gain, pay within a minute,
// and not follow another one of the same model too soon (Timers::move_again): nothing moves to and
// fro with the noise of measurements.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/context.h"
#include "cluster/planner.h"

namespace exo::cluster {

class Drift {
 public:
  explicit Drift(Context& context) : context_(context) {}

  struct Change {
    NodeId node;       // zero: none of them
    std::string what;  // "decodes at 3.0 instead of 10.0 GB/s", for display
  };
  // What a plan was made with, or what it was found to be right for: these nodes, and so many
  // answers at once.
  void Planned(const PlanId& plan, const std::vector<PlanNode>& nodes, uint32_t users);
  // About once a second for each running plan: what has been another for long enough to look for a
  // better plan. A plan that is seen for the first time is taken for right.
  std::optional<Change> Look(const ModelShape& shape, const wire::Plan& plan,
                             const std::vector<PlanNode>& nodes);
  // At the same times, with the requests that the plan has now, waiting ones included: how many
  // answers at once to plan for, where that has been another number for long enough.
  std::optional<uint32_t> LookAtLoad(const PlanId& plan, uint32_t requests);
  // How many answers at once the plan is right for.
  uint32_t UsersOf(const PlanId& plan) const;
  // Whether the model's last move is long enough ago.
  bool MayMove(const ModelId& model) const;
  void Moved(const ModelId& model);
  // Forgets plans that do not run any more.
  void Keep(const std::function<bool(const PlanId&)>& runs);

 private:
  struct Watched {
    std::vector<PlanNode> nodes;
    std::optional<Time> changed_since;
    uint32_t users = 1;
    // Since when there have been twice as many, and half as many; and how many at least, at most.
    std::optional<Time> busier_since, calmer_since;
    uint32_t busier = 0, calmer = 0;
  };
  Context& context_;
  std::map<PlanId, Watched> plans_;
  std::map<ModelId, Time> moved_at_;
};

// A plan that could take the place of the one that runs; `nodes` as they are now.
struct Move {
  const ModelShape& shape;
  const std::vector<PlanNode>& nodes;
  const wire::Plan& from;
  const wire::Plan& to;
  uint32_t users = 1;  // answers at once
};
// Whether the plan has a stage on a device that takes no part any more.
bool UsesUnwilling(const wire::Plan& plan, const std::vector<PlanNode>& nodes);
// Whether both give the same parts to the same devices.
bool SameDivision(const wire::Plan& a, const wire::Plan& b);
// Whether what is gained in a minute is worth the loads. `holds`: a device has the model's file.
bool IsWorthIt(const Move& move, const std::function<bool(const NodeId&)>& holds);

}  // namespace exo::cluster
