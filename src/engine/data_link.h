// One TLS connection that carries tensors between two stages (or pieces of a model file). Owned and
// used by one thread at a time, which blocks in it: no event loop, no hand-over between threads.
//
// Both ends may send large frames at once: while Send waits for room it keeps reading into the
// queue of received frames, so that two senders never wait for each other (until kMaxQueuedFrames
// are unread).
//
// Thread: the owning stage thread; moving the object to another thread needs a happens-before edge.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "wire/messages.h"

namespace exo::engine {

class DataLink {
 public:
  // Frames received but not yet taken by Poll. More unread ones stop the reading (back-pressure).
  static constexpr size_t kMaxQueuedFrames = 16;

  // What Poll gives. `message` and `tensor` (64-byte aligned) stay valid until the next Poll of
  // this link.
  struct Frame {
    wire::Message* message = nullptr;  // may be moved from
    std::span<const std::byte> tensor;
    std::span<const float> floats() const {
      return {reinterpret_cast<const float*>(tensor.data()), tensor.size() / sizeof(float)};
    }
  };
  enum class Event { kFrame, kTimeout, kWoken };
  struct Outcome {
    Event event = Event::kTimeout;
    Frame frame;  // for kFrame
  };

  virtual ~DataLink() = default;

  // Sends a frame; returns when the kernel has all of it, or this link what the kernel had no room
  // for (Overlap). `tensor` is only read during the call. Errors: kDisconnected (peer gone, or
  // `deadline`, in sys::Now time, is over: the link is dead then).
  virtual Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                            Time deadline) = 0;
  Result<void> SendFloats(const wire::Message& message, std::span<const float> rows,
                          Time deadline) {
    return Send(message, std::as_bytes(rows), deadline);
  }

  // Waits for a frame until `deadline` (sys::Now time) or until eventfd `wake_fd` is readable (-1:
  // none; it is not read). Errors: kDisconnected, kCorrupt; the link is dead then.
  virtual Result<Outcome> Poll(Time deadline, int wake_fd = -1) = 0;

  // The largest frame that is accepted from now on (default and maximum: wire::kMaxDataFrame), and
  // memory for frames of that size, taken now rather than in the middle of an answer.
  virtual void SetFrameLimit(uint64_t bytes) = 0;
  // How long Poll keeps looking before it sleeps, for what is exchanged many times in a token and
  // comes within microseconds: to be woken takes longer than that. Zero at first. Where looking has
  // found nothing several times in a row, Poll mostly sleeps at once, until it does again.
  virtual void SetSpin(Time) {}
  // From now on frames move while the owner is elsewhere, computing: a thread of the link's own
  // sends what Send left and receives what follows a large frame. Small ones have room in the
  // kernel, and wake nobody.
  virtual void Overlap() = 0;
  // A second thread (the loop) may call this to make the owner's calls fail soon. Thread: any.
  virtual void Shutdown() = 0;

  virtual const NodeId& peer() const = 0;
  // 1e6 bits per second that the network took of the latest frames which were more than it held at
  // once, as the system has seen it; unset: there were none, or the system does not say.
  virtual std::optional<double> SendMbps() { return std::nullopt; }
};

}  // namespace exo::engine
