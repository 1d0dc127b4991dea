// Whether the devices of a running plan and the answers that it gives at once are still what it was
// made for, and whether another plan is worth a move. One of its devices counts as changed when its
// speed has been off by a quarter for Timers::drift, when links make tokens take longer by a
// quarter for as long, or when it begins or ceases to take part; so does any other device that
// gives more of itself than it did, and where many answers are given at once one that has come.
// Twice as many answers count after Timers::drift, half as many after Timers::move_again: what
// comes in bursts is planned for as a burst.
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
  // What a model's plans were made with, or what they were found to be right for: these nodes, and
  // so many answers at once.
  void Planned(const ModelId& model, const std::vector<PlanNode>& nodes, uint32_t users);
  bool Knows(const ModelId& model) const { return models_.contains(model); }
  // About once a second for each running model, with the plans of all its instances: what has been
  // another for long enough to look for better ones. Plans that are seen for the first time are
  // taken for right.
  std::optional<Change> Look(const ModelShape& shape, const std::vector<wire::Plan>& plans,
                             const std::vector<PlanNode>& nodes);
  // At the same times, with the requests that the model has now, waiting ones included: how many
  // answers at once to plan for, where that has been another number for long enough.
  std::optional<uint32_t> LookAtLoad(const ModelId& model, uint32_t requests);
  // How many answers at once its plans are right for.
  uint32_t UsersOf(const ModelId& model) const;
  // Whether the model's last move is long enough ago.
  bool MayMove(const ModelId& model) const;
  void Moved(const ModelId& model);
  // Forgets models that do not run any more.
  void Keep(const std::function<bool(const ModelId&)>& runs);

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
  std::map<ModelId, Watched> models_;
  std::map<ModelId, Time> moved_at_;
};

// Plans that could take the place of those that run; `nodes` as they are now.
struct Move {
  const ModelShape& shape;
  const std::vector<PlanNode>& nodes;
  const std::vector<wire::Plan>& from;
  const std::vector<wire::Plan>& to;
  uint32_t users = 1;  // answers at once
  wire::Use use = wire::Use::kAuto;
};
// A plan that takes the place of another one.
struct Succession {
  const ModelShape& shape;
  const std::vector<PlanNode>& nodes;
  const wire::Plan& from;
  const wire::Plan& to;
};
// Whose KV requests of a plan bring along to the next one: the stages of the former plan, unless
// sending what their devices hold of layers that move is predicted to take longer than computing it
// again, or it cannot be had at all (parts of layers, other bits). What stays costs nothing.
wire::FormerPlan FormerOf(const Succession& succession);
// Whether a plan has a stage on a device that takes no part any more.
bool UsesUnwilling(const std::vector<wire::Plan>& plans, const std::vector<PlanNode>& nodes);
// Whether both give the same parts to the same devices.
bool SameDivision(const wire::Plan& a, const wire::Plan& b);
// Whether what is gained in a minute is worth the loads; where all that runs stays and more is put
// beside it, less gain will do. `holds`: a device has the model's file.
bool IsWorthIt(const Move& move, const std::function<bool(const NodeId&)>& holds);

}  // namespace exo::cluster
