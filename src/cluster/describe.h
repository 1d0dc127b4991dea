// Words for what travels as numbers: causes, states and placements, for logs, clients and screens.
// Nothing decides by these texts.
//
// Thread: pure, any thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::cluster {

using NameOf = std::function<std::string(const NodeId&)>;

// `plan` (may be null) tells which layers a lost node held.
std::string Describe(const wire::Cause& cause, const wire::Plan* plan, const NameOf& name_of);
Error ErrorOf(const wire::Cause& cause, const wire::Plan* plan, const NameOf& name_of);

// What the name of the state (InstanceStateName) does not say: "desk at 40 %" while it loads, the
// cause while it drains; "" where there is nothing to add.
std::string DescribeState(const wire::InstanceSummary& summary, const NameOf& name_of);

// "on battery, 60 %; hot; offers 50 % of its speed (battery, heat)"; "" where nothing is known.
std::string DescribeHealth(const wire::HealthRecord& health);
// Each placement that was compared and what came of it, in one sentence: "desk + laptop, layers:
// 12.1 tokens/s, slower than the 20.0 of the one that was chosen". The chosen one comes first.
std::vector<std::string> DescribeRivals(const std::vector<wire::PlanRival>& rivals,
                                        const NameOf& name_of);

// Why the model is placed like this, with the expected speed.
std::string DescribePlacement(const wire::Plan& plan, const wire::Expectation& expected,
                              const NameOf& name_of);
// Likewise of several that run side by side, the fastest first; of one alone as above.
std::string DescribeReplicas(const std::vector<wire::PlannedReplica>& replicas,
                             const NameOf& name_of);
// What is expected of them together: the users and tokens/s of all, the rest as of the first.
wire::Expectation ExpectationOf(const std::vector<wire::PlannedReplica>& replicas);

}  // namespace exo::cluster
