#include "app/settings_command.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "app/client_commands.h"
#include "app/data_folder.h"
#include "app/file_settings.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using nlohmann::json;

// What the node of this data folder runs with, by key; null: none runs here. Errors: those of the
// node.
Result<json> RunningValues(const Settings& settings) {
  const auto node = FindRunningNode(sys::DataFolder());
  if (!node) return json();
  const json answer = TRY(GetSoon(TRY(OwnNode(settings)), "/v1/internal/settings"));
  json values = json::object();
  for (const json& one : answer.value("data", json::array()))
    values[one.value("name", "")] = one.value("value", json());
  return values;
}

// Those in which the running node differs from what is shown, as {key: its value}.
json OtherValues(const Settings& settings, const json& running) {
  json others = json::object();
  for (const SettingInfo& info : SettingInfos()) {
    if (info.is_secret || !running.is_object() || !running.contains(info.key)) continue;
    if (running[info.key] != SettingJson(settings, info)) others[info.key] = running[info.key];
  }
  return others;
}

void SayWhatRuns(const json& others) {
  if (others.empty()) return;
  std::vector<std::string> list;
  for (const auto& [key, value] : others.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : ToText(value);
    list.push_back(fmt::format("{} ({})", key, value.is_null() ? "unset" : text));
  }
  Note(
      "exo: the node that runs here has other values of {}; what is shown counts from its next "
      "start\n",
      Printable(fmt::format("{}", fmt::join(list, ", "))));
}

}  // namespace

Result<void> RunConfig(const Settings& settings, bool as_json) {
  std::vector<std::vector<std::string>> rows = {{"SETTING", "VALUE", "FROM"}};
  const auto running = RunningValues(settings);
  const json others = OtherValues(settings, running.value_or(json()));
  json all = json::object();
  for (const SettingInfo& info : SettingInfos()) {
    const std::string value = SettingText(settings, info.key);
    const auto origin = settings.origins.find(info.key);
    const std::string from = origin == settings.origins.end() ? "default" : origin->second;
    rows.push_back({info.key, value, from});
    all[info.key] = {{"value", value}, {"from", from}};
    if (others.contains(info.key)) all[info.key]["running"] = others[info.key];
  }
  if (as_json) {
    PrintJson(all);
  } else {
    Write(Table(rows));
  }
  if (!running) Note("exo: the node that runs here: {}\n", Printable(running.error().message));
  SayWhatRuns(others);
  for (const std::string& sentence : StrayVariables()) Note("exo: {}\n", Printable(sentence));
  for (const std::string& folder : settings.models) {
    if (const auto listed = sys::RealDisk().List(folder); !listed)
      Note("exo: {}: models: {}\n", Printable(all["models"]["from"].get<std::string>()),
           Printable(listed.error().message));
  }
  return {};
}

}  // namespace exo::app
