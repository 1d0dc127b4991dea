#include "sys/health.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "sys/files.h"
#include "sys/system.h"

namespace exo::sys {
namespace {

// Trip points below it are placeholders of drivers, not what a processor is slowed down at.
constexpr int64_t kLeastTrip = 60'000;  // thousandths of a degree Celsius
// So far below the temperature at which it would switch itself off, a machine is hot.
constexpr int64_t kBelowCritical = 5'000;
// The kernel's own limit was 12 for long.
constexpr int kMostTrips = 32;
// A firmware that allows less than this part of the highest clock holds the processor back.
constexpr double kHeldBack = 0.8;

// The first line of a small file, without the white space around it; empty: there is none.
std::string LineOf(const std::string& path) {
  std::string text = ReadFile(path, 4096).value_or("");
  text = text.substr(0, text.find('\n'));
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
  return text;
}

std::optional<int64_t> NumberIn(const std::string& path) {
  const std::string text = LineOf(path);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string> FoldersIn(const std::string& folder, std::string_view prefix) {
  std::vector<std::string> found;
  for (const std::string& name : ListFolder(folder)) {
    if (name.starts_with(prefix)) found.push_back(folder + "/" + name);
  }
  return found;
}

std::optional<uint32_t> ChargeOf(const std::string& battery) {
  auto percent = NumberIn(battery + "/capacity");
  for (const char* kind : {"energy", "charge"}) {
    if (percent) break;
    const auto now = NumberIn(battery + "/" + kind + "_now");
    const auto full = NumberIn(battery + "/" + kind + "_full");
    if (now && full && *now >= 0 && *full > 0 && *now <= *full + *full / 4)
      percent =
          static_cast<int64_t>(100.0 * static_cast<double>(*now) / static_cast<double>(*full));
  }
  if (!percent || *percent < 0) return std::nullopt;
  return static_cast<uint32_t>(std::min<int64_t>(*percent, 100));  // new ones claim more
}

// What the supplies of a machine say together.
struct Supplies {
  bool adapter = false;    // there is one that could be plugged in
  bool plugged = false;    // and it is
  bool draining = false;   // a battery is
  bool charging = false;   // a battery is, or is kept full
  uint32_t batteries = 0;  // that say their charge
  uint32_t percents = 0;   // of them in all
};

void AddSupply(const std::string& supply, Supplies& all) {
  const std::string type = LineOf(supply + "/type");
  // Of a device that is connected, such as a mouse.
  if (LineOf(supply + "/scope") == "Device") return;
  if (type != "Battery" && type != "UPS") {
    if (const auto online = NumberIn(supply + "/online")) {
      all.adapter = true;
      all.plugged |= *online > 0;
    }
    return;
  }
  if (NumberIn(supply + "/present") == 0) return;
  const std::string status = LineOf(supply + "/status");
  all.draining |= status == "Discharging";
  all.charging |= status == "Charging" || status == "Full" || status == "Not charging";
  if (const auto charge = ChargeOf(supply)) {
    ++all.batteries;
    all.percents += *charge;
  }
}

void ReadPower(const std::string& root, Health& health) {
  Supplies all;
  for (const std::string& supply : FoldersIn(root + "sys/class/power_supply", ""))
    AddSupply(supply, all);
  if (all.batteries > 0) health.charge = all.percents / all.batteries;
  if (all.plugged) {
    health.power = PowerState::kMains;
  } else if (all.draining || (all.adapter && all.batteries > 0)) {
    health.power = PowerState::kBattery;
  } else if (all.charging) {
    health.power = PowerState::kMains;
  }
}

// Is the zone at a point where the system slows the processor down? Nothing: it has none.
std::optional<bool> IsHot(const std::string& zone) {
  const auto degrees = NumberIn(zone + "/temp");
  if (!degrees) return std::nullopt;
  std::optional<bool> hot;
  for (int i = 0; i < kMostTrips; ++i) {
    const std::string trip = zone + "/trip_point_" + std::to_string(i);
    const std::string type = LineOf(trip + "_type");
    if (type.empty()) break;
    const auto at = NumberIn(trip + "_temp");
    if (!at || *at < kLeastTrip || type == "active") continue;
    hot = hot.value_or(false) || *degrees >= (type == "critical" ? *at - kBelowCritical : *at);
  }
  return hot;
}

// What sensors of processors are called; others sit at disks, radios and batteries.
bool IsOfProcessor(const std::string& sensor) {
  for (const char* name : {"coretemp", "k10temp", "zenpower", "x86_pkg_temp", "cpu", "soc"}) {
    if (sensor.starts_with(name)) return true;
  }
  return false;
}

// Of the warmest sensor of the processors.
std::optional<uint32_t> Celsius(const std::string& root) {
  constexpr int64_t kMost = 150'000;  // thousandths: beyond it a driver reports nonsense
  constexpr int kMostSensors = 32;
  std::optional<uint32_t> warmest;
  const auto add = [&](const std::string& file) {
    const auto degrees = NumberIn(file);
    if (degrees && *degrees > 0 && *degrees < kMost)
      warmest = std::max(warmest.value_or(0), static_cast<uint32_t>(*degrees / 1000));
  };
  for (const std::string& zone : FoldersIn(root + "sys/class/thermal", "thermal_zone")) {
    if (IsOfProcessor(LineOf(zone + "/type"))) add(zone + "/temp");
  }
  for (const std::string& chip : FoldersIn(root + "sys/class/hwmon", "hwmon")) {
    if (!IsOfProcessor(LineOf(chip + "/name"))) continue;
    for (int i = 1; i <= kMostSensors; ++i) add(chip + "/temp" + std::to_string(i) + "_input");
  }
  return warmest;
}

std::optional<uint64_t> MemoryUsed(const std::string& root) {
  const MemoryInfo memory = ReadMemory(root);
  if (memory.total == 0) return std::nullopt;
  return memory.total - std::min(memory.total, memory.available);
}

// Fans cool without slowing anything down.
bool SlowsProcessor(const std::string& cooling_type) {
  return cooling_type == "Processor" || cooling_type == "intel_powerclamp" ||
         cooling_type.find("cpufreq") != std::string::npos ||
         cooling_type.find("cpu-idle") != std::string::npos;
}

// How often the processors were slowed down since the start.
std::optional<uint64_t> ThrottleCount(const std::string& root) {
  std::optional<uint64_t> count;
  for (const std::string& cpu : FoldersIn(root + "sys/devices/system/cpu", "cpu")) {
    for (const char* what : {"core", "package"}) {
      const auto times = NumberIn(cpu + "/thermal_throttle/" + what + "_throttle_count");
      if (times && *times >= 0) count = count.value_or(0) + static_cast<uint64_t>(*times);
    }
  }
  return count;
}

std::optional<bool> IsHeldBack(const std::string& root) {
  const std::string policy = root + "sys/devices/system/cpu/cpu0/cpufreq/";
  const auto limit = NumberIn(policy + "bios_limit");
  const auto most = NumberIn(policy + "cpuinfo_max_freq");
  if (!limit || !most || *limit <= 0 || *most <= 0) return std::nullopt;
  return static_cast<double>(*limit) < kHeldBack * static_cast<double>(*most);
}

}  // namespace

HeatState HealthReader::ReadHeat() {
  std::optional<bool> hot;
  const auto add = [&](std::optional<bool> one) {
    if (one) hot = hot.value_or(false) || *one;
  };
  const std::string thermal = root_ + "sys/class/thermal";
  for (const std::string& zone : FoldersIn(thermal, "thermal_zone")) add(IsHot(zone));
  for (const std::string& cooling : FoldersIn(thermal, "cooling_device")) {
    if (!SlowsProcessor(LineOf(cooling + "/type"))) continue;
    if (const auto now = NumberIn(cooling + "/cur_state")) add(*now > 0);
  }
  const auto throttled = ThrottleCount(root_);
  if (throttled) add(throttled_ && *throttled > *throttled_);
  throttled_ = throttled;
  add(IsHeldBack(root_));
  if (!hot) return HeatState::kUnknown;
  return *hot ? HeatState::kHot : HeatState::kCool;
}

std::optional<HealthReader::Ticks> HealthReader::ReadTicks() const {
  unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0,
                     stolen = 0;
  const std::string all = LineOf(root_ + "proc/stat");
  if (std::sscanf(all.c_str(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
                  &idle, &wait, &irq, &soft, &stolen) < 4)
    return std::nullopt;
  // Behind the program's name, which may contain anything.
  const std::string own = LineOf(root_ + "proc/self/stat");
  const size_t name_end = own.rfind(')');
  unsigned long long own_user = 0, own_system = 0;
  if (name_end == std::string::npos ||
      std::sscanf(own.c_str() + name_end + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &own_user,
                  &own_system) != 2)
    return std::nullopt;
  Ticks ticks{.busy = user + nice + system + irq + soft + stolen, .own = own_user + own_system};
  ticks.all = ticks.busy + idle + wait;
  return ticks;
}

std::optional<double> HealthReader::OtherLoad() {
  const auto before = std::exchange(ticks_, ReadTicks());
  if (!before || !ticks_ || ticks_->all <= before->all) return std::nullopt;
  const auto since = [](uint64_t now, uint64_t then) {
    return now > then ? static_cast<double>(now - then) : 0.0;
  };
  const double others = since(ticks_->busy, before->busy) - since(ticks_->own, before->own);
  return std::clamp(others / since(ticks_->all, before->all), 0.0, 1.0);
}

Health HealthReader::Read() {
  Health health;
  ReadPower(root_, health);
  health.heat = ReadHeat();
  health.other_load = OtherLoad();
  health.celsius = Celsius(root_);
  health.memory_used = MemoryUsed(root_);
  return health;
}

}  // namespace exo::sys
