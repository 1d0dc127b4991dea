// The functions that a model may call, as far as reading and forcing calls takes it.
#pragma once

#include <functional>
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

// The schema of arguments that are left to the model.
inline constexpr const char* kAnyArguments = R"({"type":"object"})";

// The schema of an object, in which anything may stand for the properties whose own schema, with
// the definitions of the whole, `keeps` does not take. Another schema stays as it is.
std::string WithoutProperties(const std::string& schema,
                              const std::function<bool(const std::string&)>& keeps);

// Compact JSON text, members in their order; what is not UTF-8 is replaced.
std::string JsonText(const model::Data& data);

}  // namespace exo::chat
