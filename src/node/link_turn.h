// Whose turn it is to measure: what a device sends to measure one way is in the way of what it
// answers to others, so of two devices that measure each other at the same time neither would find
// what their link can do. Who asks first waits for its first answer until the other end has ended.
//
// Thread: any.
#pragma once

#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/units.h"

namespace exo::node {

class LinkTurn {
 public:
  explicit LinkTurn(const NodeId& self) : self_(self) {}

  // This device's own measurement of its way to `peer`: it asks, is answered, and is over.
  void Ask(const NodeId& peer) EXO_EXCLUDES(mutex_);
  void Begin() EXO_EXCLUDES(mutex_);
  void End() EXO_EXCLUDES(mutex_);

  // `peer` asks for the first time over a link: waits while this device measures, is the first of
  // two that have asked each other, or is measured already; not after `deadline`, nor once Close
  // was called.
  void Admit(const NodeId& peer, Time deadline) EXO_EXCLUDES(mutex_);
  // Its link has ended.
  void Leave(const NodeId& peer) EXO_EXCLUDES(mutex_);
  void Close() EXO_EXCLUDES(mutex_);

  // Somebody measures a way to this device, which does not begin to measure meanwhile.
  bool Taken(Time now) EXO_EXCLUDES(mutex_);

 private:
  enum class Own { kNone, kAsking, kMeasuring };
  // Who measures a way to this device; more than one where a deadline came first.
  struct Admitted {
    NodeId peer;
    Time until{};
  };
  bool IsFirst(const NodeId& peer) const EXO_REQUIRES(mutex_);
  void ForgetPast(Time now) EXO_REQUIRES(mutex_);

  const NodeId self_;
  Mutex mutex_;
  CondVar changed_;
  Own own_ EXO_GUARDED_BY(mutex_) = Own::kNone;
  NodeId asked_ EXO_GUARDED_BY(mutex_);
  std::vector<Admitted> admitted_ EXO_GUARDED_BY(mutex_);  // the first one's time ends first
  bool closed_ EXO_GUARDED_BY(mutex_) = false;
};

}  // namespace exo::node
