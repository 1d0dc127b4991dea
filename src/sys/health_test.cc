#include "sys/health.h"

#include <gtest/gtest.h>

#include "sys/fake/root.h"

namespace exo::sys {
namespace {

constexpr char kSupplies[] = "sys/class/power_supply/";
constexpr char kThermal[] = "sys/class/thermal/";

// A laptop, but for what `root` says already.
void WriteBattery(const FakeRoot& root, const std::string& name, const std::string& status,
                  const std::string& capacity) {
  root.Write(kSupplies + name + "/type", "Battery\n");
  root.Write(kSupplies + name + "/status", status + "\n");
  root.Write(kSupplies + name + "/capacity", capacity + "\n");
}
void WriteAdapter(const FakeRoot& root, const std::string& name, const std::string& online) {
  root.Write(kSupplies + name + "/type", "Mains\n");
  root.Write(kSupplies + name + "/online", online + "\n");
}

Health ReadOnce(const FakeRoot& root) {
  return HealthReader(root.path()).Read();
}

TEST(HealthTest, AMachineThatSaysNothingIsUnknown) {
  const FakeRoot root;
  HealthReader reader(root.path());
  EXPECT_EQ(reader.Read(), Health{});
  EXPECT_EQ(reader.Read(), Health{});
  EXPECT_EQ(HealthReader(root.path() + "nothing/").Read(), Health{});
}

TEST(HealthTest, ALaptopRunsOnMainsOrOnItsBattery) {
  const FakeRoot root;
  WriteAdapter(root, "AC", "1");
  WriteBattery(root, "BAT0", "Not charging", "79");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kMains);
  EXPECT_EQ(ReadOnce(root).charge, 79u);
  WriteAdapter(root, "AC", "0");
  WriteBattery(root, "BAT0", "Discharging", "78");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kBattery);
  // A charger on a second port.
  WriteAdapter(root, "ucsi-source-psy-1", "1");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kMains);
}

TEST(HealthTest, ABatteryAloneTellsByItsStatus) {
  const FakeRoot root;
  WriteBattery(root, "BAT0", "Charging", "20");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kMains);
  WriteBattery(root, "BAT0", "Discharging", "19");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kBattery);
  WriteBattery(root, "BAT0", "Unknown", "19");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kUnknown);
  EXPECT_EQ(ReadOnce(root).charge, 19u);
}

TEST(HealthTest, ADesktopWithAnAdapterAndNoBatteryIsNeverOnBattery) {
  const FakeRoot root;
  WriteAdapter(root, "AC", "0");
  EXPECT_EQ(ReadOnce(root).power, PowerState::kUnknown);
}

TEST(HealthTest, ChargeIsTheMeanOfBatteriesThatAreThere) {
  const FakeRoot root;
  WriteBattery(root, "BAT0", "Discharging", "40");
  root.Write("sys/class/power_supply/BAT1/type", "Battery");
  root.Write("sys/class/power_supply/BAT1/status", "Unknown");
  root.Write("sys/class/power_supply/BAT1/energy_now", "9000000");
  root.Write("sys/class/power_supply/BAT1/energy_full", "15000000");
  EXPECT_EQ(ReadOnce(root).charge, 50u);
  root.Write("sys/class/power_supply/BAT1/present", "0");  // taken out
  EXPECT_EQ(ReadOnce(root).charge, 40u);
  WriteBattery(root, "hidpp_battery_0", "Discharging", "5");
  root.Write("sys/class/power_supply/hidpp_battery_0/scope", "Device");  // a mouse
  EXPECT_EQ(ReadOnce(root).charge, 40u);
}

TEST(HealthTest, OddFilesAreUnknown) {
  for (const char* text : {"", "-1", "abc", "12 %", "9999999999999999999999", "\xff\xfe", "\n\n"}) {
    const FakeRoot root;
    WriteBattery(root, "BAT0", text, text);
    WriteAdapter(root, "AC", text);
    root.Write("sys/class/power_supply/BAT0/energy_now", text);
    root.Write("sys/class/power_supply/BAT0/energy_full", "0");
    root.Write("sys/class/thermal/thermal_zone0/temp", text);
    root.Write("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive");
    root.Write("sys/class/thermal/thermal_zone0/trip_point_0_temp", text);
    root.Write("sys/class/thermal/cooling_device0/type", "Processor");
    root.Write("sys/class/thermal/cooling_device0/cur_state", text);
    root.Write("sys/devices/system/cpu/cpu0/cpufreq/bios_limit", text);
    root.Write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", text);
    root.Write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", text);
    root.Write("proc/stat", text);
    root.Write("proc/self/stat", text);
    const Health health = ReadOnce(root);
    EXPECT_EQ(health.charge, std::nullopt) << text;
    EXPECT_NE(health.heat, HeatState::kHot) << text;
    EXPECT_EQ(health.other_load, std::nullopt) << text;
  }
}

TEST(HealthTest, AZoneAtItsTripPointIsHot) {
  const FakeRoot root;
  const std::string zone = std::string(kThermal) + "thermal_zone3/";
  root.Write(zone + "temp", "85000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kUnknown);
  root.Write(zone + "trip_point_0_type", "active");  // a fan starts
  root.Write(zone + "trip_point_0_temp", "62000");
  root.Write(zone + "trip_point_1_type", "passive");
  root.Write(zone + "trip_point_1_temp", "-274000");  // not set
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kUnknown);
  root.Write(zone + "trip_point_2_type", "critical");
  root.Write(zone + "trip_point_2_temp", "105000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kCool);
  root.Write(zone + "temp", "101000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kHot);
  root.Write(zone + "trip_point_1_temp", "90000");
  root.Write(zone + "temp", "90000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kHot);
}

TEST(HealthTest, CoolingThatSlowsTheProcessorIsHeatAndAFanIsNot) {
  const FakeRoot root;
  const std::string cooling = std::string(kThermal) + "cooling_device";
  root.Write(cooling + "0/type", "Fan");
  root.Write(cooling + "0/cur_state", "1");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kUnknown);
  root.Write(cooling + "1/type", "Processor");
  root.Write(cooling + "1/cur_state", "0");
  root.Write(cooling + "2/type", "intel_powerclamp");
  root.Write(cooling + "2/cur_state", "-1");  // off
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kCool);
  root.Write(cooling + "1/cur_state", "3");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kHot);
}

TEST(HealthTest, ProcessorsThatAreThrottledMoreOftenAreHot) {
  const FakeRoot root;
  const std::string counts = "sys/devices/system/cpu/cpu1/thermal_throttle/";
  root.Write(counts + "package_throttle_count", "70000");  // since the machine started
  root.Write(counts + "core_throttle_count", "3");
  HealthReader reader(root.path());
  EXPECT_EQ(reader.Read().heat, HeatState::kCool);
  EXPECT_EQ(reader.Read().heat, HeatState::kCool);
  root.Write(counts + "package_throttle_count", "70001");
  EXPECT_EQ(reader.Read().heat, HeatState::kHot);
  EXPECT_EQ(reader.Read().heat, HeatState::kCool);
}

TEST(HealthTest, AFirmwareThatLowersTheClockIsHeat) {
  const FakeRoot root;
  const std::string policy = "sys/devices/system/cpu/cpu0/cpufreq/";
  root.Write(policy + "cpuinfo_max_freq", "4000000");
  root.Write(policy + "bios_limit", "3900000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kCool);
  root.Write(policy + "bios_limit", "1200000");
  EXPECT_EQ(ReadOnce(root).heat, HeatState::kHot);
}

TEST(HealthTest, LoadOfOthersIsWithoutThisProcess) {
  const FakeRoot root;
  const auto write = [&](int busy, int idle, int own) {
    root.Write("proc/stat", "cpu  " + std::to_string(busy) + " 0 0 " + std::to_string(idle) +
                                " 0 0 0 0 0 0\ncpu0 1 2 3\n");
    root.Write("proc/self/stat", "7 (a ) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 " +
                                     std::to_string(own) + " 0 0 0 20 0 9 0 5 1 1\n");
  };
  HealthReader reader(root.path());
  write(1000, 5000, 100);
  EXPECT_EQ(reader.Read().other_load, std::nullopt);
  write(1100, 5100, 150);
  EXPECT_DOUBLE_EQ(reader.Read().other_load.value(), 0.25);
  EXPECT_EQ(reader.Read().other_load, std::nullopt);  // no time has passed
  write(1200, 5200, 300);                             // more than the machine counts
  EXPECT_EQ(reader.Read().other_load, 0);
  write(10, 20, 1);  // another machine
  EXPECT_EQ(reader.Read().other_load, std::nullopt);
}

TEST(HealthTest, TheWarmestSensorOfTheProcessorsCounts) {
  const FakeRoot root;
  root.Write(std::string(kThermal) + "thermal_zone0/type", "iwlwifi_1");
  root.Write(std::string(kThermal) + "thermal_zone0/temp", "99000");
  EXPECT_EQ(ReadOnce(root).celsius, std::nullopt);
  root.Write(std::string(kThermal) + "thermal_zone1/type", "cpu-thermal");
  root.Write(std::string(kThermal) + "thermal_zone1/temp", "51500");
  EXPECT_EQ(ReadOnce(root).celsius, 51u);
  root.Write("sys/class/hwmon/hwmon0/name", "nvme");
  root.Write("sys/class/hwmon/hwmon0/temp1_input", "88000");
  root.Write("sys/class/hwmon/hwmon1/name", "k10temp");
  root.Write("sys/class/hwmon/hwmon1/temp1_input", "63000");
  root.Write("sys/class/hwmon/hwmon1/temp3_input", "400000");  // no temperature
  EXPECT_EQ(ReadOnce(root).celsius, 63u);
}

TEST(HealthTest, MemoryThatCannotBeTakenIsUsed) {
  const FakeRoot root;
  root.Write("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 300 kB\n");
  EXPECT_EQ(ReadOnce(root).memory_used, 700u * 1024);
}

TEST(HealthTest, ThisMachineCanBeRead) {
  HealthReader reader;
  const Health health = reader.Read();
  EXPECT_LE(health.charge.value_or(0), 100u);
}

}  // namespace
}  // namespace exo::sys
