#include "service/removals.h"

#include <algorithm>

namespace exo::service {

Json RemovalsJson(const std::vector<node::RemovalView>& removals) {
  Json devices = Json::array();
  for (const node::RemovalView& one : removals) {
    devices.push_back({{"device", one.device},
                       {"ok", one.ok},
                       {"freed_bytes", one.freed_bytes},
                       {"said", one.said}});
  }
  return {{"ok", std::ranges::all_of(removals, &node::RemovalView::ok)},
          {"devices", std::move(devices)}};
}

}  // namespace exo::service
