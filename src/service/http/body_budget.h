// Memory for the bodies of all requests together, taken as they arrive: a thousand connections must
// not hold a thousand times the largest body.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace exo::service {

// Thread: any.
class BodyBudget {
 public:
  explicit BodyBudget(size_t limit) : limit_(limit) {}

  // False: that many bytes are not left.
  bool Take(size_t bytes) {
    if (used_.fetch_add(bytes) + bytes <= limit_) return true;
    used_ -= bytes;
    return false;
  }
  void Give(size_t bytes) { used_ -= bytes; }
  size_t used() const { return used_; }

 private:
  const size_t limit_;
  std::atomic<size_t> used_ = 0;
};

// What one body has taken; gives it back when it goes. Thread: any, one at a time.
class BodyLease {
 public:
  // A body may outlive the server, in work that was begun.
  explicit BodyLease(std::shared_ptr<BodyBudget> budget) : budget_(std::move(budget)) {}
  ~BodyLease() { budget_->Give(bytes_); }
  BodyLease(const BodyLease&) = delete;
  BodyLease& operator=(const BodyLease&) = delete;

  bool GrowTo(size_t bytes) {
    if (bytes <= bytes_) return true;
    if (!budget_->Take(bytes - bytes_)) return false;
    bytes_ = bytes;
    return true;
  }

 private:
  const std::shared_ptr<BodyBudget> budget_;
  size_t bytes_ = 0;
};

}  // namespace exo::service
