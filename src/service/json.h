// The one place where nlohmann's JSON parser runs: its exceptions end here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo::service {

using Json = nlohmann::json;

// Errors: kInvalid with the position: no JSON, not UTF-8, number beyond binary64, more than
// kMaxJsonDepth levels, a key twice in one object.
Result<Json> ParseJson(std::string_view text);

// Compact text; text that is not UTF-8 is replaced, never thrown on.
std::string Dump(const Json& json);

}  // namespace exo::service
