// What is counted of the requests to one model, by the names and in the buckets that monitoring of
// model servers knows (vLLM's), and a histogram to count in.
//
// Thread: one at a time. Plain values of node/api.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace exo::node {

// Observations by upper bounds, ascending, as Prometheus has them.
class Histogram {
 public:
  // `bounds` must outlive it.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds), counts_(bounds.size()) {}

  void Observe(double value, uint64_t times = 1) {
    const auto at = std::ranges::lower_bound(bounds_, value);
    if (at != bounds_.end()) counts_[static_cast<size_t>(at - bounds_.begin())] += times;
    sum_ += value * static_cast<double>(times);
    count_ += times;
  }
  std::span<const double> bounds() const { return bounds_; }
  // Of each bound: observations above the bound before it, up to this one.
  std::span<const uint64_t> counts() const { return counts_; }
  double sum() const { return sum_; }
  uint64_t count() const { return count_; }

 private:
  std::span<const double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
  uint64_t count_ = 0;
};

// Seconds. vLLM's own buckets, with smaller ones between tokens for small models.
inline constexpr std::array kFirstTokenBounds = {
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
    1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
inline constexpr std::array kTokenGapBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                               0.15,  0.2,    0.3,   0.4,  0.5,   0.75, 1.0,   2.5,
                                               5.0,   7.5,    10.0,  20.0, 40.0,  80.0};
inline constexpr std::array kRequestBounds = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                              5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                              60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};

// Requests of this node's clients to one model. Counts are since the start.
struct ModelMetrics {
  uint64_t running = 0;  // being answered now
  uint64_t waiting = 0;  // submitted or placed, and not being answered yet
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of them
  uint64_t generated_tokens = 0;
  // How they ended.
  uint64_t stopped = 0;
  uint64_t at_length = 0;
  uint64_t aborted = 0;  // by the client or a person
  uint64_t failed = 0;
  // Seconds.
  Histogram first_token{kFirstTokenBounds};  // from the request
  Histogram token_gap{kTokenGapBounds};      // between two tokens
  Histogram whole{kRequestBounds};
  Histogram queue{kRequestBounds};    // before the first step of its prompt
  Histogram prefill{kRequestBounds};  // from there to the first token
  Histogram decode{kRequestBounds};   // from there to the last
};

}  // namespace exo::node
