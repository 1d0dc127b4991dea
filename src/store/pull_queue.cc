#include "store/pull_queue.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace exo::store {

PullQueue::PullQueue(std::vector<uint64_t> bytes) {
  for (const uint64_t one : bytes) tensors_.push_back({.bytes = one});
}

size_t PullQueue::Join(std::vector<bool> has) {
  const MutexLock lock(mutex_);
  CHECK_EQ(has.size(), tensors_.size());
  holders_[joined_] = std::move(has);
  return joined_++;
}

size_t PullQueue::HoldersOf(size_t tensor) const {
  return static_cast<size_t>(
      std::ranges::count_if(holders_, [&](const auto& one) { return one.second[tensor]; }));
}

std::optional<size_t> PullQueue::Best(const std::vector<bool>& has) const {
  std::optional<size_t> best;
  std::tuple<size_t, uint64_t> least;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!has[i] || tensors_[i].state != State::kOpen) continue;
    const std::tuple rank{HoldersOf(i), ~tensors_[i].bytes};
    if (best && rank >= least) continue;
    best = i;
    least = rank;
  }
  return best;
}

bool PullQueue::MayBeNeeded(const std::vector<bool>& has) const {
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (has[i] && tensors_[i].state != State::kDone) return true;
  return false;
}

std::optional<size_t> PullQueue::Next(size_t holder) {
  const MutexLock lock(mutex_);
  const std::vector<bool>& has = holders_.at(holder);
  while (!stopped_ && MayBeNeeded(has)) {
    if (const auto best = Best(has)) {
      tensors_[*best].state = State::kSending;
      return best;
    }
    changed_.Wait(mutex_);
  }
  return std::nullopt;
}

void PullQueue::Done(size_t tensor) {
  const MutexLock lock(mutex_);
  tensors_[tensor].state = State::kDone;
  changed_.NotifyAll();
}

void PullQueue::Leave(size_t holder, std::optional<size_t> sending) {
  const MutexLock lock(mutex_);
  holders_.erase(holder);
  if (sending) tensors_[*sending].state = State::kOpen;
  changed_.NotifyAll();
}

void PullQueue::Stop() {
  const MutexLock lock(mutex_);
  stopped_ = true;
  changed_.NotifyAll();
}

bool PullQueue::finished() const {
  const MutexLock lock(mutex_);
  return std::ranges::all_of(tensors_, [](const Tensor& one) { return one.state == State::kDone; });
}

}  // namespace exo::store
