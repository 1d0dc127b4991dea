// What can be said of a model before it is downloaded, from the heads of its files: whether it can
// be run at all, and by the planner how fast it would run here.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/result.h"
#include "cluster/planner.h"
#include "fetch/source.h"
#include "store/manifest.h"

namespace exo::node {

// Reads the heads over the network, and keeps what it read in the files' prefixes, so that no byte
// comes twice. Null: nothing is known, since everything is here or a line broke.
// Thread: any; blocks. Errors: those of a file that cannot be run (kInvalid, kUnsupported,
// kCorrupt), kCancelled.
Result<std::shared_ptr<const store::Manifest>> ReadRemoteHeads(const fetch::WebOptions& web,
                                                               fetch::RemoteModel& model,
                                                               const std::atomic<bool>& cancel);

// "2.0 GiB; runs here: about 42 tokens/s", or why not, and which quantization of the repository
// would. Thread: pure, any thread.
std::string DescribeFit(const cluster::ModelShape& shape, const fetch::RemoteModel& model,
                        const std::vector<cluster::PlanNode>& nodes,
                        const cluster::PlanOptions& options);

}  // namespace exo::node
