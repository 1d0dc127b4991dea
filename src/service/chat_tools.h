// Tools, as both chats and responses name them.
#pragma once

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// "tools" of type function, nested ({"function": {...}}) or flat; others, which the service itself
// would run, are skipped. `text` is what `body` was parsed from; `field`: that has the tools.
Parsed<> ReadTools(const Json& body, std::string_view text, node::ChatOptions& chat,
                   const char* field = "tools");
// "tool_choice" and "parallel_tool_calls".
Parsed<> ReadToolChoice(const Json& body, node::ChatOptions& chat);
// What a model is told of thinking: none, minimal, low, medium, high, … ; null: nothing.
Parsed<> SetEffort(const Json* effort, const char* param, node::ChatOptions& chat);
// {id, name, arguments: JSON text} of an earlier answer. `written`: the function as it was written.
Parsed<model::ToolCall> ReadCall(std::string id, const Json& function, const model::Data& written,
                                 const std::string& param);

}  // namespace exo::service
