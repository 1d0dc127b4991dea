// Changing a TOML file of another program.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace exo::app {

// The text of a TOML file with the members of `added` (an object of objects, texts and numbers) in
// it: tables are merged, other values replaced. Comments of the old text are lost. Errors: kCorrupt
// with the line when it is no TOML.
Result<std::string> MergeToml(const std::string& file, const std::string& text,
                              const nlohmann::json& added);

}  // namespace exo::app
