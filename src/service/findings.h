// The findings of `exo doctor` as JSON: {"checks": [{id, state, title, detail, fix}]}.
#pragma once

#include <vector>

#include "node/finding.h"
#include "service/json.h"

namespace exo::service {

Json FindingsJson(const std::vector<node::Finding>& findings);
// The other way round; what is missing is empty, a state that is not known kUnknown.
std::vector<node::Finding> FindingsIn(const Json& answer);

}  // namespace exo::service
