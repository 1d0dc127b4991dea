#include "node/share_policy.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace exo::node {
namespace {

// More is offered when the reason has been gone for so long.
constexpr Time kCalmTime = std::chrono::seconds(60);
// A battery must be charged so much above the least charge to count as charged again.
constexpr uint32_t kChargedAgain = 5;
// Each change goes to all members: a charge counts in steps of so many percent.
constexpr uint32_t kChargeStep = 5;
constexpr uint32_t kCelsiusNews = 4;
constexpr uint64_t kMemoryNews = 256u << 20;
// Other programs' load is told in quarters, and anew when it is off by more than this.
constexpr double kLoadNews = 0.2;

std::optional<uint32_t> TwoDigits(std::string_view text, uint32_t most) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.size() != 2 || error != std::errc() || end != text.data() + 2 || value > most)
    return std::nullopt;
  return value;
}

std::optional<uint32_t> MinuteOf(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const auto hour = TwoDigits(text.substr(0, 2), 23), minute = TwoDigits(text.substr(3), 59);
  if (text == "24:00") return 0;
  if (!hour || !minute) return std::nullopt;
  return *hour * 60 + *minute;
}

wire::PowerSource SourceOfPower(sys::PowerState power) {
  switch (power) {
    case sys::PowerState::kMains:
      return wire::PowerSource::kMains;
    case sys::PowerState::kBattery:
      return wire::PowerSource::kBattery;
    case sys::PowerState::kUnknown:
      break;
  }
  return wire::PowerSource::kUnknown;
}

wire::Heat HeatOf(sys::HeatState heat) {
  switch (heat) {
    case sys::HeatState::kCool:
      return wire::Heat::kCool;
    case sys::HeatState::kHot:
      return wire::Heat::kHot;
    case sys::HeatState::kUnknown:
      break;
  }
  return wire::Heat::kUnknown;
}

// The former value while the new one is not far from it: a record that changes goes to everybody.
template <class T>
std::optional<T> Settled(std::optional<T> now, std::optional<T> told, T news) {
  if (!now || !told) return now;
  const T apart = *now > *told ? *now - *told : *told - *now;
  return apart < news ? told : now;
}

}  // namespace

Result<DayHours> ParseDayHours(std::string_view text) {
  const auto begin = MinuteOf(text.substr(0, std::min<size_t>(5, text.size())));
  const auto end = text.size() == 11 && text[5] == '-' ? MinuteOf(text.substr(6)) : std::nullopt;
  if (!begin || !end) {
    return Fail(
        ErrorCode::kInvalid,
        "\"{}\" is no time of day such as 22:00-07:00 (hours and minutes of local time, two "
        "digits each)",
        text);
  }
  return DayHours{*begin, *end};
}

void SharePolicy::Withhold(const sys::Health& health, uint32_t minute, wire::HealthRecord& told) {
  const bool on_battery = health.power == sys::PowerState::kBattery;
  if (!on_battery || !health.charge) low_ = false;
  if (on_battery && health.charge) {
    const uint32_t least = settings_.min_charge + (low_ ? kChargedAgain : 0);
    low_ = *health.charge < least && *health.charge < 100;
  }
  uint32_t share = wire::kAllWithheld;
  const auto hold_to = [&](bool applies, uint32_t most, uint32_t reason) {
    if (!applies || most >= wire::kAllWithheld) return;
    share = std::min(share, most);
    told.reasons |= reason;
  };
  hold_to(on_battery, settings_.battery_share, wire::kOnBattery);
  hold_to(low_, 0, wire::kLowCharge);
  hold_to(told.heat == wire::Heat::kHot, settings_.hot_share, wire::kTooHot);
  hold_to(told.owner == wire::Presence::kPresent, settings_.owner_share, wire::kOwnerWorks);
  const bool allowed =
      settings_.hours.empty() ||
      std::ranges::any_of(settings_.hours, [&](const DayHours& h) { return h.Contains(minute); });
  hold_to(!allowed, 0, wire::kOutsideHours);
  told.withheld = wire::kAllWithheld - share;
}

// Stays with the former share until it has been too small for long enough.
void SharePolicy::HoldFor(wire::HealthRecord& told, Time now) {
  if (told.withheld >= told_.withheld) {
    calm_.reset();
    return;
  }
  if (!calm_) calm_ = now;
  if (now - *calm_ >= kCalmTime) {
    calm_.reset();
    return;
  }
  told.withheld = told_.withheld;
  told.reasons = told_.reasons;
}

wire::HealthRecord SharePolicy::Judge(const sys::Health& health, std::optional<bool> somebody_works,
                                      uint32_t minute, Time now) {
  wire::HealthRecord told{.power = SourceOfPower(health.power), .heat = HeatOf(health.heat)};
  if (somebody_works)
    told.owner = *somebody_works ? wire::Presence::kPresent : wire::Presence::kAway;
  Withhold(health, minute, told);
  HoldFor(told, now);
  if (health.charge) told.charge = *health.charge / kChargeStep * kChargeStep;
  told.other_load = told_.other_load;
  const double load = health.other_load.value_or(told.other_load);
  if (std::abs(load - told.other_load) > kLoadNews) told.other_load = std::round(load * 4) / 4;
  told.celsius = Settled(health.celsius, told_.celsius, kCelsiusNews);
  told.memory_used = Settled(health.memory_used, told_.memory_used, kMemoryNews);
  told_ = told;
  return told;
}

}  // namespace exo::node
