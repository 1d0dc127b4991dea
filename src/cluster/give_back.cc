#include "cluster/give_back.h"

#include <algorithm>

namespace exo::cluster {

void GiveBack(const wire::Plan& plan, std::vector<PlanNode>& nodes) {
  for (const wire::StagePlan& stage : plan.stages) {
    for (PlanNode& node : nodes) {
      if (node.id == stage.node)
        node.memory_available = std::min(node.memory_budget, node.memory_available + stage.bytes);
    }
  }
}

}  // namespace exo::cluster
