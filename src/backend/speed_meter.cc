#include "backend/speed_meter.h"

#include <chrono>
#include <utility>

namespace exo::backend {
namespace {

double SecondsOf(Time time) {
  return std::chrono::duration<double>(time).count();
}

// A system that sleeps in between computes nothing, but is not slow.
Time AwakeTime() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

}  // namespace

SpeedMeter::Work::Work(SpeedMeter& meter) : meter_(meter), start_(AwakeTime()) {
  const MutexLock lock(meter_.mutex_);
  begun_ = ++meter_.begun_;
  began_alone_ = meter_.at_work_++ == 0;
  if (began_alone_) meter_.busy_since_ = start_;
}

SpeedMeter::Work::~Work() {
  Done();
}

bool SpeedMeter::Work::alone() const {
  const MutexLock lock(meter_.mutex_);
  return began_alone_ && meter_.begun_ == begun_;
}

void SpeedMeter::Work::Done(const WorkDone& size) {
  if (std::exchange(ended_, true)) return;
  const MutexLock lock(meter_.mutex_);
  const Time now = AwakeTime();
  meter_.CountBusy(now);
  --meter_.at_work_;
  if (!began_alone_ || meter_.begun_ != begun_) return;
  const double seconds = SecondsOf(now - start_);
  if (size.decode_bytes > 0) {
    meter_.done_.decode_bytes += size.decode_bytes;
    meter_.done_.decode_seconds += seconds;
  }
  if (size.prefill_ops > 0) {
    meter_.done_.prefill_ops += size.prefill_ops;
    meter_.done_.prefill_seconds += seconds;
  }
}

void SpeedMeter::CountBusy(Time now) {
  if (at_work_ > 0) done_.busy_seconds += SecondsOf(now - busy_since_);
  busy_since_ = now;
}

WorkDone SpeedMeter::Take() {
  const MutexLock lock(mutex_);
  CountBusy(AwakeTime());
  return std::exchange(done_, {});
}

void SpeedMeter::SetCosts(WorkCosts costs) {
  auto shared = std::make_shared<const WorkCosts>(std::move(costs));
  const MutexLock lock(mutex_);
  costs_ = std::move(shared);
}

std::shared_ptr<const WorkCosts> SpeedMeter::costs() const {
  const MutexLock lock(mutex_);
  return costs_;
}

}  // namespace exo::backend
