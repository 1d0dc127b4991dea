#include "net/admission.h"

#include <algorithm>

#include "net/socket.h"

namespace exo::net {

bool Admission::Take(Bucket& bucket, double rate, Time now) {
  const double seconds = std::chrono::duration<double>(now - bucket.last).count();
  bucket.tokens = std::min(rate, bucket.tokens + std::max(seconds, 0.0) * rate);
  bucket.last = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void Admission::Prune(Time now) {
  std::erase_if(sources_, [now](const auto& entry) {
    return entry.second.at_once == 0 && now - entry.second.last > std::chrono::seconds(2);
  });
}

bool Admission::Enter(const std::string& source, Time now) {
  if (at_once_ >= kAtOnce) return false;
  if (sources_.size() >= kMaxSources) Prune(now);
  if (sources_.size() >= kMaxSources && !sources_.contains(source)) return false;
  const bool loopback = IsLoopback(source);
  const double rate = loopback ? kPerSecond : kPerSecondPerSource;
  Bucket& bucket = sources_.try_emplace(source, Bucket{.tokens = rate, .last = now}).first->second;
  if (!loopback && bucket.at_once >= kAtOncePerSource) return false;
  if (!Take(bucket, rate, now) || !Take(total_, kPerSecond, now)) return false;
  ++bucket.at_once;
  ++at_once_;
  return true;
}

void Admission::Done(const std::string& source) {
  --at_once_;
  --sources_.at(source).at_once;
}

}  // namespace exo::net
