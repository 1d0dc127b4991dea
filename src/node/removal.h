// `exo rm MODEL --everywhere`: what each device says of it, and the sentence that says what was
// deleted on one device, what stays, and why.
//
// Thread: the loop thread. Owner: NodeImpl.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "fetch/pull.h"
#include "net/event_loop.h"
#include "node/api.h"

namespace exo::node {

// What was found of a model on a device.
struct Removed {
  fetch::Forgotten files;     // of what was downloaded
  uint64_t tensor_bytes = 0;  // that were pulled from members, and deleted
  // A file that exo has not downloaded; empty: there is none.
  std::string own_file = {};
  uint64_t bytes() const { return files.bytes + tensor_bytes; }
};
// "deleted 1.2 GiB; /mnt/m.gguf stays: exo has not downloaded it"
std::string DescribeRemoved(const Removed& removed);

// Devices that were asked, until all have answered.
class RemovalRound {
 public:
  using Done = std::function<void(std::vector<RemovalView>)>;
  // Those that are silent for `limit` are told as such.
  RemovalRound(net::EventLoop& loop, Time limit, Done done);

  // Before Begin.
  void Expect(const NodeId& device, const std::string& name) { waiting_[device] = name; }
  // Of a device that is known not to answer: why.
  void Missing(const std::string& name, const std::string& why);
  // Ends at once where nobody is asked. `done` may destroy this object.
  void Begin();
  // Of a device that was not asked, or has answered: nothing happens.
  void Answer(const NodeId& device, bool ok, uint64_t freed_bytes, const std::string& said);

 private:
  void End();

  const Time limit_;
  const Done done_;
  std::map<NodeId, std::string> waiting_;  // their names
  std::vector<RemovalView> views_;
  net::Timer timer_;
};

}  // namespace exo::node
