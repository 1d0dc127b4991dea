#include "node/pull_peers.h"

#include <algorithm>

namespace exo::node {

Elsewhere FindElsewhere(std::span<const wire::NodeRecord> others, const NodeId& self,
                        const Hash256& content, bool announced) {
  using Where = Elsewhere::Where;
  Elsewhere found;
  for (const wire::NodeRecord& record : others) {
    if (found.where == Where::kAlone) found.where = Where::kNowhere;
    for (const wire::ModelHolding& holding : record.models) {
      if (holding.content == content && holding.complete)
        return {.where = Where::kThere, .device = record.name, .name = holding.name};
    }
    const bool yields = announced && self < record.id;
    if (!yields && std::ranges::find(record.downloads, content) != record.downloads.end())
      found = {.where = Where::kComing, .device = record.name};
  }
  return found;
}

bool IsAwaited(std::span<const wire::NodeRecord> others, const Hash256& content) {
  return std::ranges::any_of(others, [&](const wire::NodeRecord& record) {
    return std::ranges::find(record.awaits, content) != record.awaits.end();
  });
}

}  // namespace exo::node
