// Keeps this machine from falling asleep while it answers: a lock of the system's login service,
// taken when work begins and given back when there has been none for a while, so that the turns of
// a chat share one.
//
// Thread: the loop's; the service is asked on a thread for slow work.
#pragma once

#include <memory>

#include "node/jobs.h"
#include "sys/login.h"

namespace exo::node {

class StayAwake {
 public:
  StayAwake(Jobs& jobs, std::shared_ptr<const sys::LoginService> login)
      : jobs_(jobs), login_(std::move(login)) {}

  // About once a second: whether something is being answered.
  void Note(bool answering, Time now);
  bool holds_lock() const { return lock_ != nullptr; }

 private:
  using Lock = std::shared_ptr<sys::SleepLock>;
  void Ask(Time now);

  Jobs& jobs_;
  std::shared_ptr<const sys::LoginService> login_;  // jobs hold it too
  Lock lock_;
  bool asking_ = false;
  Time answered_at_{};
  Time ask_at_{};  // not before
};

}  // namespace exo::node
