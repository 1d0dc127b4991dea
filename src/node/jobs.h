// The slow work of a node in classes that never wait for each other: the processor (rendering,
// tokenizing), files (hashing, scanning, SQLite) and the network (manifests); and a fourth for
// joining stages, which may take as long as one of their work items.
//
// A job is two functions: `work` runs on a thread of the class and owns everything it touches,
// because a job that is stuck in a dead disk is left behind when the node stops; `done` gets its
// result on the loop thread, unless the node has gone by then.
//
// Thread: Run on the loop thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "sys/task_queue.h"

namespace exo::node {

class Jobs {
 public:
  enum class Class { kCpu, kIo, kNet, kJoin };

  explicit Jobs(net::EventLoop& loop) : gate_(std::make_shared<Gate>(&loop)) {}
  // Stops and waits for running jobs as long as their class allows: well under a second for those
  // of files and network, which can hang; to the end for the others, which are bounded and use what
  // the node owns.
  ~Jobs() {
    Stop();
    const MutexLock lock(gate_->mutex);
    gate_->loop = nullptr;
  }

  // Tells every job to stop; nothing is begun any more.
  void Stop() {
    cpu_.Stop();
    io_.Stop();
    net_.Stop();
  }

  // The queue of the processor, for work whose callbacks look after themselves.
  sys::TaskQueue& cpu() { return cpu_; }

  // work(const std::atomic<bool>& cancel) -> T; done(T). Jobs of one `key` (a folder, a device) run
  // two at a time at most. False: too many wait; neither function will run. Never so for kJoin:
  // what has stopped must be heard of.
  template <class Work, class Done>
  [[nodiscard]] bool Run(Class which, std::string key, Work work, Done done) {
    return QueueOf(which).Post(
        std::move(key), [gate = gate_, work = std::move(work),
                         done = std::move(done)](const std::atomic<bool>& cancel) mutable {
          auto result = work(cancel);
          const MutexLock lock(gate->mutex);
          if (gate->loop == nullptr) return;
          gate->loop->Post([gate, done = std::move(done), result = std::move(result)]() mutable {
            if (gate->loop != nullptr) done(std::move(result));
          });
        });
  }

 private:
  // Jobs outlive this object; what they bring back does not pass any more.
  struct Gate {
    explicit Gate(net::EventLoop* on) : loop(on) {}
    Mutex mutex;
    net::EventLoop* loop;  // null: closed. Written on the loop thread under the mutex.
  };

  sys::TaskQueue& QueueOf(Class which) {
    switch (which) {
      case Class::kIo:
        return io_;
      case Class::kNet:
        return net_;
      case Class::kJoin:
        return join_;
      case Class::kCpu:
        break;
    }
    return cpu_;
  }

  static constexpr Time kJoinLimit = std::chrono::milliseconds(300);

  std::shared_ptr<Gate> gate_;
  sys::TaskQueue cpu_{sys::TaskQueueOptions{.threads = 2}};
  sys::TaskQueue join_{
      sys::TaskQueueOptions{.threads = 4, .max_threads = 32, .max_waiting = SIZE_MAX}};
  sys::TaskQueue io_{sys::TaskQueueOptions{
      .threads = 4, .max_threads = 32, .max_waiting = 65536, .join_limit = kJoinLimit}};
  sys::TaskQueue net_{sys::TaskQueueOptions{
      .threads = 8, .max_threads = 64, .per_key = 8, .join_limit = kJoinLimit}};
};

}  // namespace exo::node
