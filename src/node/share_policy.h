// Which part of this device's speed models may count on: by how the device is, and by what its
// owner has set. A share falls at once and grows only when the reason has been gone for a while, so
// that nothing moves to and fro with a temperature.
//
// Thread: pure, one caller at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "sys/health.h"
#include "wire/messages.h"

namespace exo::node {

// A time of each day, in minutes since midnight: [begin, end), over midnight where end <= begin.
struct DayHours {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool Contains(uint32_t minute) const {
    return begin < end ? minute >= begin && minute < end : minute >= begin || minute < end;
  }
  friend bool operator==(const DayHours&, const DayHours&) = default;
};
// "22:00-07:00". Errors: kInvalid with the text and what is meant.
Result<DayHours> ParseDayHours(std::string_view text);

// Shares are percent of the device's speed; of several reasons the smallest share counts, and 0
// means that the device takes no part.
struct ShareSettings {
  uint32_t min_charge = 30;  // percent: below it, on its battery, the share is 0
  uint32_t battery_share = 50;
  uint32_t hot_share = 50;
  uint32_t owner_share = 50;
  std::vector<DayHours> hours;  // beyond them the share is 0; none: always
};

class SharePolicy {
 public:
  explicit SharePolicy(ShareSettings settings) : settings_(std::move(settings)) {}

  // What to tell others. `minute`: of the local day. `somebody_works`: nothing where it is unknown.
  wire::HealthRecord Judge(const sys::Health& health, std::optional<bool> somebody_works,
                           uint32_t minute, Time now);

 private:
  void Withhold(const sys::Health& health, uint32_t minute, wire::HealthRecord& told);
  void HoldFor(wire::HealthRecord& told, Time now);

  const ShareSettings settings_;
  bool low_ = false;          // the charge was below the least one, and is not well above it yet
  wire::HealthRecord told_;   // the last judgment
  std::optional<Time> calm_;  // since when more could be offered than was told
};

}  // namespace exo::node
