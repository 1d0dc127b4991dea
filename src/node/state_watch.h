// Finds out what has changed between two looks at the cluster core, which only says that something
// has.
//
// Thread: the loop. Owner: the node.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cluster/core.h"
#include "cluster/describe.h"
#include "node/event_log.h"

namespace exo::node {

class StateWatch {
 public:
  StateWatch(EventLog& log, cluster::NameOf name_of) : log_(log), name_of_(std::move(name_of)) {}

  // Adds an event for each peer and instance whose state is another than at the last call.
  void Look(const std::vector<cluster::NodeStatus>& nodes,
            const std::vector<cluster::InstanceStatus>& instances);

 private:
  struct Seen {
    NodeId node;
    std::string name;
    std::string state;
  };

  EventLog& log_;
  const cluster::NameOf name_of_;
  std::map<NodeId, Seen> peers_;
  std::map<PlanId, Seen> instances_;
};

}  // namespace exo::node
