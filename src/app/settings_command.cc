#include "app/settings_command.h"

#include <nlohmann/json.hpp>

#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "sys/files.h"

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
  for (const std::string& sentence : StrayVariables()) Note("exo: {}\n", Printable(sentence));
  for (const std::string& folder : settings.models) {
    if (const auto listed = sys::RealDisk().List(folder); !listed)
      Note("exo: {}: models: {}\n", Printable(all["models"]["from"].get<std::string>()),
           Printable(listed.error().message));
  }
  return {};
}

}  // namespace exo::app
