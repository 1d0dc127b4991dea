#include "node/link_turn.h"

#include <algorithm>

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

void LinkTurn::ForgetPast(Time now) {
  std::erase_if(admitted_, [now](const Admitted& one) { return one.until <= now; });
}

void LinkTurn::Admit(const NodeId& peer, Time deadline) {
  const MutexLock lock(mutex_);
  Time now = sys::Now();
  for (ForgetPast(now); !closed_ && now < deadline; ForgetPast(now)) {
    if (!IsFirst(peer) && admitted_.empty()) break;
    const Time end = admitted_.empty() ? deadline : std::min(deadline, admitted_.front().until);
    changed_.WaitUntil(mutex_, std::chrono::steady_clock::time_point(end));
    now = sys::Now();
  }
  admitted_.push_back({peer, now + kLongest});
}

void LinkTurn::Leave(const NodeId& peer) {
  const MutexLock lock(mutex_);
  const auto at = std::ranges::find(admitted_, peer, &Admitted::peer);
  if (at == admitted_.end()) return;
  admitted_.erase(at);
  changed_.NotifyAll();
}

void LinkTurn::Close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  changed_.NotifyAll();
}

bool LinkTurn::Taken(Time now) {
  const MutexLock lock(mutex_);
  return std::ranges::any_of(admitted_, [now](const Admitted& one) { return now < one.until; });
}

}  // namespace exo::node
