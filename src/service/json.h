// The one place where nlohmann's JSON parser runs: its exceptions end here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/data.h"

namespace exo::service {

using Json = nlohmann::json;

// Errors: kInvalid with the position: no JSON, not UTF-8, number beyond binary64, more than
// kMaxJsonDepth levels, a key twice in one object.
Result<Json> ParseJson(std::string_view text);

// The text of the member at `path` of a text that ParseJson takes, with the keys of its objects in
// the order in which they are written. Empty: there is none.
std::string MemberText(std::string_view text, const std::vector<std::string>& path);

// A text that ParseJson takes, or its member of this name (nothing: there is none), as templates
// get it, with the keys of its objects in the order in which they are written.
model::Data AsWritten(std::string_view text);
model::Data AsWritten(std::string_view text, std::string_view member);

// Compact text; text that is not UTF-8 is replaced, never thrown on.
std::string Dump(const Json& json);

}  // namespace exo::service
