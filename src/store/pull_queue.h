// Which holder sends which tensor: the rarest first, so that what one holder alone has is here
// before it leaves; among equals the largest, so that all end at about the same time.
//
// A tensor comes whole from one holder: when its hash is wrong, it is known who sent it.
//
// Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/mutex.h"

namespace exo::store {

class PullQueue {
 public:
  // Of each tensor that is wanted.
  explicit PullQueue(std::vector<uint64_t> bytes);

  // A holder is there; `has` is in the order of the tensors. Returns its number.
  size_t Join(std::vector<bool> has);
  // What the holder sends next; it is the caller's until Done or Leave. Waits while other holders
  // send what this one has too, as they may fail. Nothing: no more is needed of it.
  std::optional<size_t> Next(size_t holder);
  void Done(size_t tensor);
  // The holder is there no more; what it was sending is for others.
  void Leave(size_t holder, std::optional<size_t> sending);
  // Every Next returns nothing from now on.
  void Stop();
  bool finished() const;

 private:
  enum class State : uint8_t { kOpen, kSending, kDone };
  struct Tensor {
    uint64_t bytes = 0;
    State state = State::kOpen;
  };
  size_t HoldersOf(size_t tensor) const EXO_REQUIRES(mutex_);
  // Of what nobody sends.
  std::optional<size_t> Best(const std::vector<bool>& has) const EXO_REQUIRES(mutex_);
  bool MayBeNeeded(const std::vector<bool>& has) const EXO_REQUIRES(mutex_);

  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Tensor> tensors_ EXO_GUARDED_BY(mutex_);
  std::map<size_t, std::vector<bool>> holders_ EXO_GUARDED_BY(mutex_);
  size_t joined_ EXO_GUARDED_BY(mutex_) = 0;
  bool stopped_ EXO_GUARDED_BY(mutex_) = false;
};

}  // namespace exo::store
