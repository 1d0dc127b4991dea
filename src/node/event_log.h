// The state changes of this node and what it sees of others, numbered: the last ones are kept for
// whoever subscribes, and each is a line of the log.
//
// Thread: the loop. Owner: the node.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "node/api.h"

namespace exo::node {

// A dashboard that reloads misses a few hundred at most; 1,024 are 200 KiB.
inline constexpr size_t kKeptEvents = 1024;

class EventLog {
 public:
  // `first` should be above all numbers of earlier runs.
  explicit EventLog(uint64_t first);

  // Sets sequence and time.
  void Add(StateEvent event);
  Subscribed Subscribe(std::optional<uint64_t> since, EventWatcher& watcher);
  uint64_t last() const { return next_ - 1; }

 private:
  class Subscription;
  using Watchers = std::map<uint64_t, EventWatcher*>;

  uint64_t next_;
  std::deque<StateEvent> kept_;
  uint64_t next_watcher_ = 0;
  std::shared_ptr<Watchers> watchers_ = std::make_shared<Watchers>();
};

}  // namespace exo::node
