#include "backend/sampling.h"

#include <algorithm>

#include "base/check.h"

namespace exo::backend {
namespace {

constexpr Time kMostTime = std::chrono::seconds(2);
constexpr uint32_t kPeriods = 20;
// Shorter ones hold too few passes: several quota periods count as one.
constexpr Time kLeastQuotaPeriods = std::chrono::milliseconds(50);
// Of all passes of a work so many take no longer than it needs when nothing comes between. Under a
// small quota most are interrupted.
constexpr double kUndisturbed = 0.1;
// Of the few that RelativeTime has.
constexpr double kQuick = 0.1;
constexpr Time kPeriodWithoutQuota = std::chrono::milliseconds(25);

double InSeconds(Time time) {
  return std::chrono::duration<double>(time).count();
}

// The value that a part of the others is below.
double Quantile(std::vector<double> values, double part) {
  CHECK(!values.empty());
  const auto rank = static_cast<ptrdiff_t>(static_cast<double>(values.size()) * part);
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[static_cast<size_t>(rank)];
}

struct TimedPass {
  size_t work = 0;
  Time begin{};  // since the first period began
  Time end{};
};

// The part of the median period in which work was done at its own speed: each pass counts for what
// a pass of its work takes when nothing comes between, in the periods that it ran in.
double GivenShare(std::span<const TimedPass> passes, std::span<const double> pass_seconds,
                  const Sampling& sampling) {
  std::vector<double> done(sampling.periods, 0);
  for (const TimedPass& pass : passes) {
    const double length = InSeconds(pass.end - pass.begin);
    const auto first = static_cast<size_t>(pass.begin / sampling.period);
    Time from = pass.begin;
    for (size_t i = first; i < done.size() && from < pass.end; ++i) {
      const Time to = std::min<Time>(pass.end, sampling.period * static_cast<int64_t>(i + 1));
      done[i] += InSeconds(to - from) / length * pass_seconds[pass.work];
      from = to;
    }
  }
  return Quantile(std::move(done), 0.5) / InSeconds(sampling.period);
}

}  // namespace

Sampling SamplingFor(const std::optional<sys::CpuQuota>& quota) {
  if (!quota) return {.period = kPeriodWithoutQuota, .periods = kPeriods};
  const auto together = (kLeastQuotaPeriods + quota->period - Time(1)) / quota->period;
  const Time period = quota->period * together;
  const auto most = static_cast<uint32_t>(std::max<int64_t>(1, kMostTime / period));
  return {.period = period, .periods = std::min(kPeriods, most)};
}

double DutyUnder(const std::optional<sys::CpuQuota>& quota, uint32_t threads) {
  return quota ? std::min(1.0, quota->cores / threads) : 1;
}

std::vector<double> SustainedRates(std::span<const SampledWork> works, const Sampling& sampling,
                                   const std::function<Time()>& now) {
  CHECK(!works.empty() && sampling.periods > 0 && sampling.period > Time::zero());
  for (const SampledWork& work : works) work.pass();
  std::vector<TimedPass> passes;
  std::vector<std::vector<double>> seconds(works.size());
  const Time start = now();
  const Time whole = sampling.period * sampling.periods;
  Time begin{};
  for (size_t turn = 0; begin < whole || turn < works.size(); ++turn) {
    const size_t work = turn % works.size();
    works[work].pass();
    const Time end = std::max(now() - start, begin + Time(1));
    passes.push_back({work, begin, end});
    seconds[work].push_back(InSeconds(end - begin));
    begin = end;
  }
  std::vector<double> pass_seconds;
  for (std::vector<double>& of_work : seconds)
    pass_seconds.push_back(Quantile(std::move(of_work), kUndisturbed));
  const double share = GivenShare(passes, pass_seconds, sampling);
  std::vector<double> rates;
  for (size_t i = 0; i < works.size(); ++i)
    rates.push_back(works[i].amount / pass_seconds[i] * share);
  return rates;
}

double RelativeTime(const std::function<void()>& work, const std::function<void()>& base,
                    uint32_t turns, const std::function<Time()>& now) {
  CHECK(turns > 0);
  const auto timed = [&](const std::function<void()>& pass) {
    const Time begin = now();
    pass();
    return InSeconds(now() - begin);
  };
  work();
  base();
  std::vector<double> of_work, of_base;
  for (uint32_t turn = 0; turn < turns; ++turn) {
    of_work.push_back(timed(work));
    of_base.push_back(timed(base));
  }
  return Quantile(std::move(of_work), kQuick) / Quantile(std::move(of_base), kQuick);
}

}  // namespace exo::backend
