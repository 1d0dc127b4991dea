// exo.toml as a flat list of keys. Knows TOML and nothing about settings (app/settings.h does).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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

// The text with another value for a top-level key, or without the key (no value); everything else,
// with comments, stays as it is, and so do the comments of a list's values that stay. `value`:
// TOML. Errors: kInvalid (`text` is no TOML, or is written
// in a way that this cannot change: it says so).
Result<std::string> ChangeSettingsFile(const std::string& text, const std::string& path,
                                       const std::string& key,
                                       const std::optional<std::string>& value);
// A text as a TOML string.
std::string TomlString(std::string_view text);

}  // namespace exo::app
