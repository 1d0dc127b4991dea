// The settings of a node as its page shows and changes them. The service knows none of them: app
// does (app/file_settings.h), which reads them from their file.
//
// Thread: any, one call at a time; a call may wait for the disk.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "service/json.h"

namespace exo::service {

struct SettingView {
  std::string name;
  Json value;          // in effect: a text, a number, true or false, a list of texts; null: none
  Json fallback;       // where nobody says one
  std::string origin;  // "flag", "environment", "file" or "default"
  std::string source;  // in full, such as "exo.toml line 3"; empty: its default
  std::string kind;    // what it takes: "an integer from 0 to 65535"
  std::string help;    // what it is, in a few words
  bool is_secret = false;         // no value is told
  std::optional<Json> next = {};  // the value from the next start on, where it is another
};

struct SettingsView {
  std::string file;  // where changes are written
  std::vector<SettingView> settings;
  std::string problem = {};  // why the next start would fail; empty: it would not
};

// A new value for the file; null takes the setting out of it.
struct SettingChange {
  std::string name;
  Json value;
};

struct SettingsChanged {
  std::vector<std::string> now;    // those that are in effect already
  std::vector<std::string> later;  // from the next start on
  // Those for which the file does not count, and what does: "--port".
  std::vector<std::pair<std::string, std::string>> hidden;
};

class SettingsDesk {
 public:
  virtual ~SettingsDesk() = default;
  virtual SettingsView Read() = 0;
  // All of them, or none. Errors: kInvalid naming the setting, the value and what it takes; kIo.
  virtual Result<SettingsChanged> Change(const std::vector<SettingChange>& changes) = 0;
};

}  // namespace exo::service
