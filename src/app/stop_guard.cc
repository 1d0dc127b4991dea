#include "app/stop_guard.h"

#include <cstdlib>

#include "app/data_folder.h"
#include "app/exit_codes.h"
#include "base/thread.h"

namespace exo::app {

Result<std::unique_ptr<StopGuard>> StopGuard::Start(std::string folder) {
  std::unique_ptr<StopGuard> guard(new StopGuard(TRY(sys::StopSignals()), std::move(folder)));
  guard->thread_ = StartThread([raw = guard.get()] { raw->Main(); });
  return guard;
}

StopGuard::~StopGuard() {
  finished_.Notify();
  thread_.join();
}

void StopGuard::Main() {
  if (sys::WaitAnyReadable({stop_fd_, finished_.fd()}) != 0) return;
  sys::TakeSignal(stop_fd_, Time(0));
  asked_.Notify();
  const int second = sys::WaitAnyReadable({stop_fd_, finished_.fd()}, kPatience);
  if (second == 1) return;
  ForgetRunningNode(folder_);
  std::_Exit(second == 0 ? kExitInterrupted : kExitOk);
}

}  // namespace exo::app
