#include "node/link_probe.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "sys/system.h"

namespace exo::node {
namespace {

constexpr size_t kPings = 40;
constexpr size_t kLeastPings = 5;  // of a way that is so slow that the time is over first
constexpr Time kPingPause = std::chrono::milliseconds(5);  // radios doze, and show it
constexpr Time kPingTime = std::chrono::seconds(3);
constexpr Time kPatience = std::chrono::seconds(3);  // for one answer
// For the first one, before which the other end may measure.
constexpr Time kTurnPatience = std::chrono::seconds(10);
// Frames double from the first size to the last, of which there are several: 1,020 KiB in all.
constexpr size_t kFirstSize = 4 << 10;
constexpr size_t kLastSize = 256 << 10;
constexpr size_t kLastOnes = 3;
static_assert(kLastSize - kFirstSize + kLastOnes * kLastSize <= kMaxProbeBytes);
constexpr double kLargeTimeMs = 1000;

double Milliseconds(Time time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// At a part of the way through, from the smallest to the largest.
double At(std::vector<double> values, double part) {
  std::ranges::sort(values);
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

class Probe {
 public:
  explicit Probe(engine::DataLink& link) : link_(link) {}

  // Milliseconds until the other end has said that a frame of so many bytes is there.
  Result<double> Exchange(size_t bytes, Time patience = kPatience) {
    const Time start = sys::Now();
    TRY(link_.Send(wire::LinkProbe{++number_}, std::span(zeros_).first(bytes), start + patience));
    const auto got = TRY(link_.Poll(start + patience));
    if (got.event != engine::DataLink::Event::kFrame)
      return Fail(ErrorCode::kDisconnected, "{} does not answer a measurement of its link",
                  link_.peer().Short());
    const auto* echo = std::get_if<wire::LinkEcho>(got.frame.message);
    if (echo == nullptr || echo->number != number_)
      return Fail(ErrorCode::kCorrupt, "{} answers a measurement of its link with another message",
                  link_.peer().Short());
    return Milliseconds(sys::Now() - start);
  }

  // Wakes the threads of both ends, too.
  Result<void> Begin() {
    (void)TRY(Exchange(0, kTurnPatience));
    return {};
  }

  Result<LinkFigures> RoundTrips() {
    std::vector<double> times;
    const Time end = sys::Now() + kPingTime;
    while (times.size() < kPings && (times.size() < kLeastPings || sys::Now() < end)) {
      std::this_thread::sleep_for(kPingPause);
      times.push_back(TRY(Exchange(0)));
    }
    return LinkFigures{.rtt_ms = At(times, 0.5), .rtt_p99_ms = At(times, 0.99)};
  }

  // Of the largest frames that there was time for, without the round trip that each takes.
  Result<double> Mbps(double rtt_ms, const std::atomic<bool>& stop) {
    std::vector<double> rates;
    double took_ms = 0;
    size_t left = kLastOnes;
    for (size_t bytes = kFirstSize; left > 0 && !stop.load();) {
      const double ms = TRY(Exchange(bytes));
      took_ms += ms;
      rates.push_back(static_cast<double>(bytes) * 8e-3 / (ms > rtt_ms ? ms - rtt_ms : ms));
      if (took_ms + 2 * ms > kLargeTimeMs) break;
      if (bytes == kLastSize) {
        --left;
      } else {
        bytes *= 2;
        rates.clear();
      }
    }
    return stop.load() || rates.empty() ? 0 : At(std::move(rates), 0.5);
  }

 private:
  engine::DataLink& link_;
  const std::vector<std::byte> zeros_ = std::vector<std::byte>(kLastSize);
  uint32_t number_ = 0;
};

}  // namespace

Result<LinkFigures> ProbeLink(engine::DataLink& link, const std::atomic<bool>& stop,
                              LinkTurn& turn) {
  Probe probe(link);
  TRY(probe.Begin());
  turn.Begin();
  LinkFigures figures = TRY(probe.RoundTrips());
  figures.mbps = TRY(probe.Mbps(figures.rtt_ms, stop));
  return figures;
}

}  // namespace exo::node
