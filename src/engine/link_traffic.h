// What goes over the data links of a node's stages, by the device at the other end.
//
// Thread: any. Owner: the node; outlives its runners.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>

#include "base/mutex.h"
#include "engine/data_link.h"

namespace exo::engine {

// Bytes of rows, sums and logits as they are coded, without frames and TLS.
struct LinkBytes {
  uint64_t sent = 0;
  uint64_t received = 0;
};

class LinkTraffic {
 public:
  // The link, whose frames count from now on.
  std::unique_ptr<DataLink> Counted(std::unique_ptr<DataLink> link);
  // Of each device that there has been a link to.
  std::map<NodeId, LinkBytes> Bytes() const;
  // The rate of each since the last call, where a large frame was sent since.
  std::map<NodeId, double> TakeMbps();

 private:
  struct Counters {
    std::atomic<uint64_t> sent{0}, received{0};
    std::atomic<double> mbps{0};
  };
  class CountedLink;

  mutable Mutex mutex_;
  std::map<NodeId, std::shared_ptr<Counters>> counters_ EXO_GUARDED_BY(mutex_);
};

}  // namespace exo::engine
