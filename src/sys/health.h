// How this machine is, as far as its kernel says: what it runs on, how warm it is, what is taken of
// its memory, and what other programs take of its processors. What a system does not offer, or says
// in an odd way, is unknown.
//
// Thread: one caller at a time; a call may block for as long as a driver takes to answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace exo::sys {

enum class PowerState : uint8_t { kUnknown, kMains, kBattery };
// Hot: its processor is slowed down for it, or is where that begins.
enum class HeatState : uint8_t { kUnknown, kCool, kHot };

struct Health {
  PowerState power = PowerState::kUnknown;
  std::optional<uint32_t> charge;  // percent of all batteries; those of mice do not count
  HeatState heat = HeatState::kUnknown;
  // Part of all processors' time since the last reading that other programs had; nothing at first.
  std::optional<double> other_load;
  std::optional<uint32_t> celsius;      // of the warmest sensor of its processors
  std::optional<uint64_t> memory_used;  // bytes that cannot be taken now, by all programs
  friend bool operator==(const Health&, const Health&) = default;
};

class HealthReader {
 public:
  // `root` is "/" except in tests (fake /proc and /sys trees).
  explicit HealthReader(std::string root = "/") : root_(std::move(root)) {}
  Health Read();

 private:
  // Clock ticks since the machine started.
  struct Ticks {
    uint64_t all = 0;
    uint64_t busy = 0;
    uint64_t own = 0;  // of this process
  };
  HeatState ReadHeat();
  std::optional<double> OtherLoad();
  std::optional<Ticks> ReadTicks() const;

  std::string root_;
  std::optional<Ticks> ticks_;         // of the last reading
  std::optional<uint64_t> throttled_;  // times that the processors were, likewise
};

}  // namespace exo::sys
