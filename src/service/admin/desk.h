// What administrators of one node keep on its disk: its settings, the keys of its API, its audit
// log; and its log, which is in memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "service/http/dialect.h"
#include "service/http/worker.h"
#include "service/settings_desk.h"

namespace exo::service::admin {

struct DeskOptions {
  // For work that waits for the disk.
  std::shared_ptr<Worker> worker;
  // Of the keys and the audit log; empty: there is no desk.
  std::string folder;
  SettingsDesk* settings = nullptr;  // null: they cannot be seen. Outlives the server
};

std::vector<Route> DeskRoutes(const DeskOptions& options);

}  // namespace exo::service::admin
