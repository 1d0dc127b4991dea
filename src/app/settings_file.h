// exo.toml as a flat list of keys. Knows TOML and nothing about settings (app/settings.h does).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace exo::app {

struct FileEntry {
  std::string key;
  std::string type;                // "string", "integer", "boolean", "list", or TOML's other types
  std::vector<std::string> texts;  // one, or the strings of a list; empty for other types
  std::string shown;               // as written, shortened, for messages
  uint32_t line = 0;
};

// The top-level keys of a TOML text in the order of its lines. Errors: kInvalid with line and
// column.
Result<std::vector<FileEntry>> ParseSettingsFile(const std::string& text, const std::string& path);

}  // namespace exo::app
