#include "node/live_speed.h"

#include <algorithm>
#include <cmath>

namespace exo::node {
namespace {

// After so many seconds of work old figures count for a third, after 20 for hardly anything.
constexpr double kMemorySeconds = 4;
// A part of the time that counts as all of it.
constexpr double kBusyPart = 0.8;
// Times of a device with pauses scatter. Only what is clearly slower is news: otherwise the slowest
// moments alone would count.
constexpr double kSlower = 0.85;
// Every change goes to all members: smaller ones are not worth it.
constexpr double kNews = 0.1;

bool IsNews(double rate, double known) {
  return std::abs(rate - known) > kNews * known;
}

}  // namespace

void LiveSpeed::Average::Restart(double rate) {
  work = rate * kMemorySeconds;
  seconds = kMemorySeconds;
}

void LiveSpeed::Average::Add(double more_work, double more_seconds) {
  const double keep = std::exp(-more_seconds / kMemorySeconds);
  work = work * keep + more_work;
  seconds = seconds * keep + more_seconds;
}

void LiveSpeed::SetMeasured(const backend::Speed& measured) {
  known_ = measured;
  decode_.Restart(measured.decode_gbps);
  prefill_.Restart(measured.prefill_gops);
}

void LiveSpeed::SetDuty(double duty) {
  backend::Speed speed = known_;
  speed.decode_gbps *= duty / known_.duty;
  speed.prefill_gops *= duty / known_.duty;
  speed.duty = duty;
  SetMeasured(speed);
}

void LiveSpeed::Learn(Average& average, double work, double seconds, bool busy) {
  if (!(seconds > 0)) return;
  if (busy || work / seconds < kSlower * average.rate()) average.Add(work, seconds);
}

bool LiveSpeed::Learn(const backend::WorkDone& work, double seconds) {
  if (!(known_.decode_gbps > 0) || !(known_.prefill_gops > 0)) return false;
  const bool busy = work.busy_seconds >= kBusyPart * seconds;
  Learn(decode_, work.decode_bytes * 1e-9, work.decode_seconds, busy);
  Learn(prefill_, work.prefill_ops * 1e-9, work.prefill_seconds, busy);
  const bool decode_news = IsNews(decode_.rate(), known_.decode_gbps);
  const bool prefill_news = IsNews(prefill_.rate(), known_.prefill_gops);
  if (decode_news) known_.decode_gbps = decode_.rate();
  if (prefill_news) known_.prefill_gops = prefill_.rate();
  return decode_news || prefill_news;
}

}  // namespace exo::node
