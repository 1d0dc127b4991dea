// `exo doctor`: what keeps this device and its cluster from working well, and what to do.
#pragma once

#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "node/finding.h"

namespace exo::app {

struct DoctorOptions {
  bool all = false;  // what is well, too
  bool json = false;
};
// Asks the node; without one looks at this device alone. Errors: kIo when there is a problem, those
// of the node.
Result<void> RunDoctor(const Settings& settings, const DoctorOptions& options);

// What can be said without a node: its device, and why it might not start. `silent`: something has
// the API's port and does not answer.
std::vector<node::Finding> DiagnoseWithoutNode(const Settings& settings, bool silent = false);
// As a person reads it; those that are well only with `all`.
std::string DoctorText(const std::vector<node::Finding>& findings, bool all);

}  // namespace exo::app
