// The one thread on which connections, cluster state and HTTP run. Wraps boost::asio::io_context,
// which only net/event_loop_asio.h shows (the HTTP service needs it); everything else sees posts,
// timers and descriptors, so that Asio's templates are compiled once.
//
// Thread: Post and Stop from any thread; everything else on the thread that called
// Run. Owner: app builds it first and destroys it last.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/units.h"

namespace exo::net {

// Processor time of the loop's thread per turn (one handler: of a post, a timer, a descriptor or a
// socket), waiting and other threads left out.
inline constexpr std::array<Time, 4> kTurnBounds = {
    std::chrono::milliseconds(1), std::chrono::milliseconds(5), std::chrono::milliseconds(20),
    std::chrono::milliseconds(100)};
struct TurnStats {
  uint64_t count = 0;
  Time total{};
  Time longest{};
  std::array<uint64_t, kTurnBounds.size()> within{};  // turns of at most each bound
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs handlers on this thread until Stop. May be called again afterwards.
  void Run();
  // Lets Run return after the current handler. Handlers already posted may stay for the next Run.
  void Stop();
  // Runs `work` on the loop thread, later, in the order of the posts.
  void Post(std::function<void()> work);

  // What the turns so far cost. Thread: the loop's.
  TurnStats Turns() const;

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// One restartable timer. Destroying or cancelling it guarantees that the callback will not run.
class Timer {
 public:
  explicit Timer(EventLoop& loop);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Calls `fire` once after `delay` (steady clock). A running timer is replaced.
  void Start(Time delay, std::function<void()> fire);
  void Cancel();
  bool running() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Readiness of a descriptor that somebody else owns (and closes after this object is gone).
class FdWatch {
 public:
  FdWatch(EventLoop& loop, int fd);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  // Calls `ready` once when the descriptor can be read (written) or has an error. The callback may
  // destroy this object. A second call before the first fires replaces its callback.
  void OnReadable(std::function<void()> ready);
  void OnWritable(std::function<void()> ready);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace exo::net
