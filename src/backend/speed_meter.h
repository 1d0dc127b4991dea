// What the stages of a device compute, and how long it takes them: the speed of real layers, with
// everything that a measurement at the start does not see (heat, power limits, other programs).
//
// Thread: any.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/work_costs.h"
#include "base/mutex.h"
#include "base/units.h"

namespace exo::backend {

// Work of known size, and the time it took. Each kind has its own: the rest of the time is neither.
struct WorkDone {
  double decode_bytes = 0;    // read for one row at a time, as bytes of Q4_0 (work_costs.h)
  double decode_seconds = 0;  // that took
  double prefill_ops = 0;     // 2 per multiply-add, of many rows at once, as those of Q4_0
  double prefill_seconds = 0;
  double busy_seconds = 0;  // in which there was work of any kind
};

class SpeedMeter {
 public:
  // A piece of work, from here to Done or the end. Pieces that overlap share the device: their
  // times say nothing about its speed. Waiting for other devices must not be inside.
  class Work {
   public:
    explicit Work(SpeedMeter& meter);
    ~Work();
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    // It was done to the end: `size` has bytes or operations, and no times.
    void Done(const WorkDone& size = {});
    // No other piece has overlapped so far.
    bool alone() const;

   private:
    SpeedMeter& meter_;
    uint64_t begun_ = 0;  // pieces, with this one
    bool began_alone_ = false;
    bool ended_ = false;
    Time start_{};
  };

  // What was done since the last call.
  WorkDone Take();

  // In what the sizes of later pieces are told. Typical ones until they are set.
  void SetCosts(WorkCosts costs);
  std::shared_ptr<const WorkCosts> costs() const;

 private:
  void CountBusy(Time now) EXO_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::shared_ptr<const WorkCosts> costs_ EXO_GUARDED_BY(mutex_) =
      std::make_shared<WorkCosts>(TypicalCosts());
  WorkDone done_ EXO_GUARDED_BY(mutex_);
  uint64_t begun_ EXO_GUARDED_BY(mutex_) = 0;  // pieces of work so far
  uint32_t at_work_ EXO_GUARDED_BY(mutex_) = 0;
  Time busy_since_ EXO_GUARDED_BY(mutex_){};  // while there is work: what is not yet in done_
};

}  // namespace exo::backend
