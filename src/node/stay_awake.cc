#include "node/stay_awake.h"

#include "base/log.h"

namespace exo::node {
namespace {

// The lock is kept for so long after the last work: the next question often comes soon.
constexpr Time kAwakeFor = std::chrono::seconds(10);
// A service that is not there, or refuses, is asked again so much later.
constexpr Time kAskAgain = std::chrono::minutes(5);

}  // namespace

void StayAwake::Note(bool answering, Time now) {
  if (answering) {
    answered_at_ = now;
    if (lock_ == nullptr && !asking_ && now >= ask_at_) Ask(now);
  } else if (now - answered_at_ >= kAwakeFor) {
    lock_.reset();
  }
}

void StayAwake::Ask(Time now) {
  ask_at_ = now + kAskAgain;
  asking_ = jobs_.Run(
      Jobs::Class::kIo, "login",
      [login = login_](const std::atomic<bool>&) -> Result<Lock> {
        return Lock(TRY(login->KeepAwake("a language model is answering")));
      },
      [this](Result<Lock> lock) {
        asking_ = false;
        if (!lock) {
          LOG(kDebug, "this device may fall asleep while it answers: {}", lock.error().message);
          return;
        }
        lock_ = *std::move(lock);
        ask_at_ = {};
      });
}

}  // namespace exo::node
