#include "node/live_link.h"

#include <algorithm>
#include <cmath>

namespace exo::node {
namespace {

// Every change goes to all members: smaller ones are not worth it.
constexpr double kLinkNews = 0.25;
// Round trips of heartbeats wait for the loops of both ends: less more is no news of the network.
constexpr double kLoopMs = 1;
// Of so many frames the one in the middle counts: one alone may have met another program's.
constexpr size_t kRates = 3;
// No home's network is faster; what is costs a row nothing.
constexpr double kMostMbps = 10'000;

bool IsLinkNews(double figure, double known) {
  return std::abs(figure - known) > kLinkNews * known;
}

}  // namespace

void LiveLink::SetMeasured(const LinkFigures& figures, double heartbeat_ms) {
  const double mbps = figures.mbps > 0 ? std::min(figures.mbps, kMostMbps) : known_.mbps;
  known_ = figures;
  known_.mbps = mbps;
  heartbeat_ms_ = heartbeat_ms;
  rates_.clear();
}

bool LiveLink::LearnMbps(double mbps) {
  rates_.push_back(std::min(mbps, kMostMbps));
  if (rates_.size() < kRates) return false;
  if (rates_.size() > kRates) rates_.erase(rates_.begin());
  std::vector<double> sorted = rates_;
  std::ranges::sort(sorted);
  if (!IsLinkNews(sorted[kRates / 2], known_.mbps)) return false;
  known_.mbps = sorted[kRates / 2];
  rates_.clear();
  return true;
}

bool LiveLink::IsAnother(double heartbeat_ms) {
  if (!(heartbeat_ms > 0)) return false;
  if (!(heartbeat_ms_ > 0)) {
    heartbeat_ms_ = heartbeat_ms;
    return false;
  }
  return IsLinkNews(heartbeat_ms, heartbeat_ms_) &&
         std::abs(heartbeat_ms - heartbeat_ms_) > kLoopMs;
}

}  // namespace exo::node
