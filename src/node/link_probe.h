// What a way to another node can do, measured over a bulk link of its own: the path, the encryption
// and the threads that frames of models pass, but not their links. The other end is BulkServer.
//
// Thread: blocks; any but the loop.
#pragma once

#include <atomic>

#include "base/result.h"
#include "engine/data_link.h"
#include "node/link_turn.h"

namespace exo::node {

struct LinkFigures {
  double rtt_ms = 0;      // of small frames there and back: the median
  double rtt_p99_ms = 0;  // 99 of 100 are no longer; of few the longest
  double mbps = 0;        // 1e6 bits of frames per second to there; 0: not measured
  friend bool operator==(const LinkFigures&, const LinkFigures&) = default;
};

// After what the other end measures itself: small frames for a quarter of a second and forty round
// trips, three seconds at most; then, unless `stop` is set, at most kMaxProbeBytes in ever larger
// frames for a second at most; `stop` set meanwhile leaves mbps unmeasured. Errors: kDisconnected
// (the link broke, or an older exo at the other end skips the question).
inline constexpr size_t kMaxProbeBytes = 1 << 20;
Result<LinkFigures> ProbeLink(engine::DataLink& link, const std::atomic<bool>& stop,
                              LinkTurn& turn);

}  // namespace exo::node
