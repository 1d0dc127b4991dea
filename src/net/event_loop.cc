#include "net/event_loop.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "net/event_loop_asio.h"

namespace exo::net {
namespace {

Time ThreadTime() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

struct EventLoop::Impl {
  boost::asio::io_context context{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
      context.get_executor()};
  TurnStats turns;

  void Note(Time turn) {
    ++turns.count;
    turns.total += turn;
    turns.longest = std::max(turns.longest, turn);
    for (size_t i = 0; i < kTurnBounds.size(); ++i) turns.within[i] += turn <= kTurnBounds[i];
  }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::Run() {
  impl_->context.restart();
  Time start = ThreadTime();
  while (impl_->context.run_one() != 0) {
    const Time end = ThreadTime();
    impl_->Note(end - start);
    start = end;
  }
}

void EventLoop::Stop() {
  impl_->context.stop();
}

void EventLoop::Post(std::function<void()> work) {
  boost::asio::post(impl_->context, std::move(work));
}

TurnStats EventLoop::Turns() const {
  return impl_->turns;
}

boost::asio::io_context& Context(EventLoop& loop) {
  return loop.impl().context;
}

// ---- Timer

struct Timer::Impl {
  explicit Impl(EventLoop& loop) : timer(Context(loop)) {}
  boost::asio::steady_timer timer;
  uint64_t generation = 0;  // a callback of an older generation was replaced or cancelled
  bool running = false;
};

Timer::Timer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop)) {}
Timer::~Timer() {
  Cancel();
}

void Timer::Start(Time delay, std::function<void()> fire) {
  Impl& impl = *impl_;
  const uint64_t generation = ++impl.generation;
  impl.running = true;
  impl.timer.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(delay));
  impl.timer.async_wait(
      [self = impl_, generation, fire = std::move(fire)](const boost::system::error_code& e) {
        if (e || self->generation != generation) return;
        self->running = false;
        fire();
      });
}

void Timer::Cancel() {
  ++impl_->generation;
  impl_->running = false;
  impl_->timer.cancel();
}

bool Timer::running() const {
  return impl_->running;
}

// ---- FdWatch

struct FdWatch::Impl : std::enable_shared_from_this<FdWatch::Impl> {
  using Descriptor = boost::asio::posix::stream_descriptor;
  Impl(EventLoop& loop, int fd) : descriptor(Context(loop), fd) {}

  void Arm(bool write, std::function<void()> callback) {
    ready[write] = std::move(callback);
    if (std::exchange(armed[write], true)) return;
    descriptor.async_wait(write ? Descriptor::wait_write : Descriptor::wait_read,
                          [self = shared_from_this(), write](const boost::system::error_code&) {
                            if (!self->alive) return;
                            self->armed[write] = false;
                            if (auto fire = std::exchange(self->ready[write], nullptr)) {
                              fire();
                            }
                          });
  }

  Descriptor descriptor;
  bool alive = true;
  bool armed[2] = {};
  std::function<void()> ready[2];
};

FdWatch::FdWatch(EventLoop& loop, int fd) : impl_(std::make_shared<Impl>(loop, fd)) {}

FdWatch::~FdWatch() {
  impl_->alive = false;
  impl_->ready[0] = impl_->ready[1] = nullptr;
  impl_->descriptor.release();
}

void FdWatch::OnReadable(std::function<void()> ready) {
  impl_->Arm(false, std::move(ready));
}
void FdWatch::OnWritable(std::function<void()> ready) {
  impl_->Arm(true, std::move(ready));
}

}  // namespace exo::net
