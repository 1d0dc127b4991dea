// The settings of a running node as its page shows them, and changes of their file.
//
// Thread: any, one call at a time.
#pragma once

#include "app/settings.h"
#include "service/settings_desk.h"

namespace exo::app {

// A setting's value as JSON has it: a text, a number, true or false, a list of texts; null where it
// is unset.
service::Json SettingJson(const Settings& settings, const SettingInfo& info);

class FileSettings final : public service::SettingsDesk {
 public:
  // `running`: what the node was started with, from `sources`.
  FileSettings(Settings running, SettingSources sources)
      : running_(std::move(running)), sources_(std::move(sources)) {}

  service::SettingsView Read() override;
  Result<service::SettingsChanged> Change(
      const std::vector<service::SettingChange>& changes) override;

 private:
  const Settings running_;
  const SettingSources sources_;
};

}  // namespace exo::app
