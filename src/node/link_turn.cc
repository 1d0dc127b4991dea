#include "node/link_turn.h"

#include <utility>

#include "sys/system.h"

namespace exo::node {
namespace {

// No measurement takes longer (link_probe.h); who holds its link open does not keep others waiting.
constexpr Time kLongest = std::chrono::seconds(6);

}  // namespace

void LinkTurn::Ask(const NodeId& peer) {
  const MutexLock lock(mutex_);
  own_ = Own::kAsking;
  asked_ = peer;
}

void LinkTurn::Begin() {
  const MutexLock lock(mutex_);
  own_ = Own::kMeasuring;
}

void LinkTurn::End() {
  const MutexLock lock(mutex_);
  own_ = Own::kNone;
  changed_.NotifyAll();
}

bool LinkTurn::IsFirst(const NodeId& peer) const {
  return own_ == Own::kMeasuring || (own_ == Own::kAsking && asked_ == peer && self_ < peer);
}

void LinkTurn::Admit(const NodeId& peer, Time deadline) {
  const auto end = std::chrono::steady_clock::time_point(deadline);
  const MutexLock lock(mutex_);
  while (IsFirst(peer) && !closed_) {
    if (!changed_.WaitUntil(mutex_, end)) break;
  }
  admitted_ = peer;
  admitted_until_ = sys::Now() + kLongest;
}

void LinkTurn::Leave(const NodeId& peer) {
  const MutexLock lock(mutex_);
  if (admitted_ == peer) admitted_until_ = {};
}

void LinkTurn::Close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  changed_.NotifyAll();
}

bool LinkTurn::Taken(Time now) {
  const MutexLock lock(mutex_);
  return now < admitted_until_;
}

}  // namespace exo::node
