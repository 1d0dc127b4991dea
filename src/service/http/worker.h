// One thread for work that would hold the event loop: reading large bodies. Its queue is bounded by
// the budget for bodies (limits.h), since every job owns one.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>

#include "sys/task_queue.h"

namespace exo::service {

class Worker {
 public:
  explicit Worker(boost::asio::io_context& context) : context_(context) {}

  // Runs `work` on the thread, then hands what it returned to `done` on the loop. `done` must know
  // by itself whether whoever waits is still there. False: too much is waiting already, and nothing
  // will be done. Thread: the event loop.
  template <class Work, class Done>
  [[nodiscard]] bool Run(Work work, Done done) {
    // std::function copies; these do not.
    auto job = std::make_shared<std::pair<Work, Done>>(std::move(work), std::move(done));
    return queue_->Post([&context = context_, job = std::move(job)]() mutable {
      auto result = std::make_shared<decltype(job->first())>(job->first());
      boost::asio::post(context, [job = std::move(job), result = std::move(result)] {
        job->second(std::move(*result));
      });
    });
  }
  // Waits for the job that runs and drops the others; nothing may be run afterwards.
  void Stop() { queue_.reset(); }

 private:
  boost::asio::io_context& context_;
  std::unique_ptr<sys::TaskQueue> queue_ = std::make_unique<sys::TaskQueue>(1);
};

}  // namespace exo::service
