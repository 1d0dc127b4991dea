// Tools, as both chats and responses name them.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// Functions that a request has in namespaces (as Codex sends those of an MCP server), by the name
// under which the model gets each (FullToolName).
struct NamespacedTool {
  std::string name_space, name;
};
using NamespacedTools = std::map<std::string, NamespacedTool, std::less<>>;

// "tools" of type function, nested ({"function": {...}}) or flat, and where `namespaced` is given
// those of namespaces; others, which the service itself would run, are skipped. `text` is what
// `body` was parsed from; `field`: that has the tools.
struct ToolFields {
  const char* field = "tools";
  NamespacedTools* namespaced = nullptr;
};
Parsed<> ReadTools(const Json& body, std::string_view text, grammar::Cache& grammars,
                   node::ChatOptions& chat, ToolFields fields = {});
// "tool_choice" and "parallel_tool_calls".
Parsed<> ReadToolChoice(const Json& body, node::ChatOptions& chat);
// What a model is told of thinking: none, minimal, low, medium, high, … ; null: nothing.
Parsed<> SetEffort(const Json* effort, const char* param, node::ChatOptions& chat);
// {id, name, arguments: JSON text} of an earlier answer. `written`: the function as it was written.
Parsed<model::ToolCall> ReadCall(std::string id, const Json& function, const model::Data& written,
                                 const std::string& param);

}  // namespace exo::service
