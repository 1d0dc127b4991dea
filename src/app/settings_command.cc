#include "app/settings_command.h"

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "app/terminal.h"

namespace exo::app {

Result<void> RunConfig(const Settings& settings, bool as_json) {
  std::vector<std::vector<std::string>> rows = {{"SETTING", "VALUE", "FROM"}};
  nlohmann::json all = nlohmann::json::object();
  for (const SettingInfo& info : SettingInfos()) {
    const std::string value = SettingText(settings, info.key);
    const auto origin = settings.origins.find(info.key);
    const std::string from = origin == settings.origins.end() ? "default" : origin->second;
    rows.push_back({info.key, value, from});
    all[info.key] = {{"value", value}, {"from", from}};
  }
  if (as_json) {
    PrintJson(all);
  } else {
    Write(Table(rows));
  }
  return {};
}

}  // namespace exo::app
