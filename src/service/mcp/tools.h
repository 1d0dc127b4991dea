// The tools that an MCP client is offered: names, schemas of arguments and results, what they do.
//
// Thread: pure, any.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "service/errors.h"
#include "service/http/access.h"
#include "service/json.h"

namespace exo::service::mcp {

struct Tool {
  std::string name;
  Scope scope = Scope::kAdmin;  // what its caller must be allowed
  Json description;             // as tools/list tells it: with inputSchema and outputSchema
};

inline constexpr std::string_view kChatTool = "chat";
inline constexpr std::string_view kModelsTool = "models";
inline constexpr std::string_view kDevicesTool = "devices";
inline constexpr std::string_view kPlanTool = "plan";

// Tokens of an answer whose caller names no limit: clients give up after a minute or so.
inline constexpr uint32_t kDefaultAnswerTokens = 4096;

std::span<const Tool> Tools();
// Null: there is none of that name.
const Tool* FindTool(std::string_view name);

// Errors: an argument that the tool's schema does not name, or one that it requires is missing.
Parsed<> CheckArguments(const Tool& tool, const Json& arguments);

// The results of a call. An error is one too, so that the model that called reads it.
Json ToolResult(std::string text, Json structured);
Json ToolError(std::string sentence);

}  // namespace exo::service::mcp
