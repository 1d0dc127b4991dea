// A placement drawn in text: devices with their part and a bar of their memory, the links between
// them, and what the planner expects.
//
// Thread: pure, any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace exo::app {

// `plan`: as /v1/internal/plan answers. Lines have at most `columns` characters, where names allow;
// at least kLeastColumns.
std::string PlanPicture(const nlohmann::json& plan, size_t columns);
inline constexpr size_t kLeastColumns = 30;
// Everything that was compared, a sentence each.
std::string PlanExplanation(const nlohmann::json& plan, size_t columns);

}  // namespace exo::app
