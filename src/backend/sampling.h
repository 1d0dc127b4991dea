// How fast a device does some work for longer than a moment. A processor quota gives a program a
// burst and then nothing until its period ends; a power limit, heat and other programs take turns
// with it too. So work runs without a pause over whole periods, and what counts is how much of it
// is done in the median one: the best millisecond says nothing, and one bad period neither.
//
// Thread: any. Pure, but for the clock and the work that it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "sys/cgroup.h"

namespace exo::backend {

struct Sampling {
  Time period{};         // whole periods of the quota
  uint32_t periods = 0;  // so many one after the other
};
// 20 periods, but no longer than 2 s in all (of a quota with a period above 100 ms: fewer). Without
// a quota 25 ms each, which outlast the turns that other programs take.
Sampling SamplingFor(const std::optional<sys::CpuQuota>& quota);

// The part of the time that so many threads compute under it, if they do nothing else.
double DutyUnder(const std::optional<sys::CpuQuota>& quota, uint32_t threads);

// Work that is repeated. One pass should be short beside a burst: half a millisecond at most.
struct SampledWork {
  std::function<void()> pass;
  double amount = 0;  // of a pass, in any unit
};

// Of each work the amount per second that the device does if it does nothing else, for as long as
// one likes. All take turns pass by pass, so that all see the same periods.
// Cost: the periods, and one pass of each in addition.
std::vector<double> SustainedRates(std::span<const SampledWork> works, const Sampling& sampling,
                                   const std::function<Time()>& now);

// How long a pass of `work` takes by the time of a pass of `base`, when nothing comes between: they
// take turns, so that both see the same moments, and each counts with its quick passes.
double RelativeTime(const std::function<void()>& work, const std::function<void()>& base,
                    uint32_t turns, const std::function<Time()>& now);

}  // namespace exo::backend
