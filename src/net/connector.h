// Where to connect and when: static peers, hints of discovery, remembered addresses. Connects and
// hands the socket over; the owner says how it went.
//
// Thread: loop; names are resolved in threads of their own. Owner: Peers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/random.h"
#include "net/event_loop.h"
#include "net/socket.h"

namespace exo::net {

class Connector {
 public:
  static constexpr Time kConnectTimeout = std::chrono::seconds(3);
  static constexpr Time kFirstRetry = std::chrono::seconds(1);
  static constexpr Time kLastRetry = std::chrono::seconds(30);
  static constexpr Time kAfterDrop = std::chrono::milliseconds(100);
  // Then an address is forgotten, unless the user named it (about 3 min). Members that are away are
  // remembered by cluster/members.h, which hints at their addresses again and again.
  static constexpr uint32_t kMaxHintFailures = 8;
  static constexpr size_t kMaxTargets = 512;  // 64 members with 4 addresses each, and as many hints

  enum class Outcome {
    kUp,    // a session with `id` is up through this target
    kSame,  // `id` is there, but has a session already
    kFailed,
    kRefused,  // answered and refused: tried again only seldom
    kSelf,     // it is this node
  };
  class Host {
   public:
    virtual ~Host() = default;
    // A connected socket; Finished(key, ...) must follow.
    virtual void OnConnected(Fd fd, const wire::Address& key) = 0;
    virtual bool IsUp(const NodeId& id) const = 0;
  };

  Connector(EventLoop& loop, Host& host, std::string bind_host);
  ~Connector();

  void AddStatic(const wire::Address& address);
  void AddHint(const wire::Address& address, const std::optional<NodeId>& id);
  void Finished(const wire::Address& key, Outcome outcome, const std::optional<NodeId>& id);
  // The session with `id` ended: connect to its addresses soon.
  void OnDown(const NodeId& id);
  // `id` said goodbye: its addresses are tried again after a while, in case it comes back unseen.
  void OnLeft(const NodeId& id);
  // `id` listens at `address` now. A node has one port, so addresses with another one are stale.
  void Moved(const NodeId& id, const wire::Address& address);
  // What refused this node may not refuse it any more: tried at once.
  void RetryRefused();
  // No connection is made from now on; sockets that were handed over are not touched.
  void Stop();
  void Forget(const NodeId& id);
  std::vector<wire::Address> AddressesOf(const NodeId& id) const;

 private:
  struct Target;
  void Schedule(Target& target, Time delay);
  void Retry(Target& target);
  void Begin(Target& target);
  void Try(Target& target);
  void Connected(Target& target);
  Target* Find(const wire::Address& key);
  bool MakeRoom();

  EventLoop& loop_;
  Host& host_;
  const std::string bind_host_;
  Rng rng_;
  std::map<wire::Address, std::unique_ptr<Target>> targets_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Between the resolving threads and the destructor: after it they touch nothing of this object.
  struct Gate {
    Mutex mutex;
    bool open EXO_GUARDED_BY(mutex) = true;
  };
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

}  // namespace exo::net
