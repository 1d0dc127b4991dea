// Limits that the system's control groups set for this process (cgroup v2 and v1), from its own
// group up to the root: each one on the way holds.
//
// Thread: any. `root` is "/" except in tests (fake /proc and /sys trees).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace exo::sys {

// Calls visit(folder, v2) for every folder that limits `controller` ("memory", "cpu") for this
// process, from the inside out. The folders may lack the controller's files.
void VisitCgroups(const std::string& root, std::string_view controller,
                  const std::function<void(const std::string& folder, bool v2)>& visit);

// Processor time that may be used in each period, all threads together; the rest of the period they
// stand still.
struct CpuQuota {
  double cores = 0;  // processor time per time
  Time period{};
  friend bool operator==(const CpuQuota&, const CpuQuota&) = default;
};

// The tightest one; nothing: no limit that the system shows.
std::optional<CpuQuota> ReadCpuQuota(const std::string& root = "/");

}  // namespace exo::sys
