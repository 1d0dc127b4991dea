// KV of requests whose model has moved: what the former plan's stages on this node have left, and
// what others have, over bulk links, page by page (engine/moved_pages.h). Both sides of that.
//
// Thread: LoadMoved that of one stage; PageOf any, blocks.
#pragma once

#include <chrono>
#include <map>

#include "base/ids.h"
#include "engine/moved_pages.h"
#include "net/connect_link.h"
#include "net/identity.h"
#include "wire/messages.h"

namespace exo::node {

// A stage of the former plan may still be at its last step, and must be found to have ended.
inline constexpr std::chrono::seconds kMovedWait{2};

// What a member is given. Waits for a stage that has not ended for kMovedWait at most.
wire::PageReply PageOf(engine::MovedPages& pages, const wire::PageRequest& request);

struct MovedSourceOptions {
  wire::FormerPlan former;
  NodeId self;
  std::map<NodeId, net::ConnectOptions> others;  // of its stages
};
// `identity` and `own` outlive the result. A member that fails once is not asked again: what is
// missing is computed.
engine::LoadMoved MakeMovedSource(const net::Identity& identity, engine::MovedPages& own,
                                  MovedSourceOptions options);

}  // namespace exo::node
