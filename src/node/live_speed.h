// A device's speed, measured at a quiet moment and corrected by what real layers need: a wrong
// first figure heals within 20 s of work, and so does one that has become wrong.
//
// A device that works part of the time may do so faster than it could all the time, within a quota
// that the pauses fill up or before it gets hot. So its times prove that it is slower than was
// thought, never that it is faster; work nearly without pauses proves both.
//
// Thread: pure, one caller at a time.
#pragma once

#include "backend/backend.h"
#include "backend/speed_meter.h"

namespace exo::node {

class LiveSpeed {
 public:
  // A new measurement: what was learned before is forgotten.
  void SetMeasured(const backend::Speed& measured);
  // From now on it may compute for this part of the time.
  void SetDuty(double duty);
  // What was done in the last `seconds`, half a second or more. True: known() has changed.
  bool Learn(const backend::WorkDone& work, double seconds);
  // What to tell others: the figures of the last measurement, or newer ones where they are off by
  // more than a tenth. Zero before the first measurement.
  const backend::Speed& known() const { return known_; }

 private:
  // Work and its time, of which older parts count less and less.
  struct Average {
    double work = 0;
    double seconds = 0;
    double rate() const { return work / seconds; }
    void Restart(double rate);
    void Add(double more_work, double more_seconds);
  };
  static void Learn(Average& average, double work, double seconds, bool busy);

  backend::Speed known_;
  Average decode_;   // 1e9 bytes
  Average prefill_;  // 1e9 operations
};

}  // namespace exo::node
