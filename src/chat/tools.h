// The functions that a model may call, as far as reading and forcing calls takes it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/data.h"

namespace exo::chat {

struct Tool {
  std::string name;
  std::string parameters = "{}";  // the schema of its arguments
  // Of the arguments that the schema names with one type: "string", "integer", …
  std::map<std::string, std::string, std::less<>> types;
};

// Of descriptions as clients send them: {type, function: {name, parameters}}; what has no name is
// skipped.
std::vector<Tool> ToolsOf(const model::DataList& tools);
const Tool* FindTool(const std::vector<Tool>& tools, std::string_view name);

// Compact JSON text, members in their order; what is not UTF-8 is replaced.
std::string JsonText(const model::Data& data);

}  // namespace exo::chat
