#include "chat/tools.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace exo::chat {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const model::Data& data);

struct JsonOf {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const model::DataList& list) const {
    Json json = Json::array();
    for (const model::Data& item : list) json.push_back(ToJson(item));
    return json;
  }
  Json operator()(const model::DataMap& map) const {
    Json json = Json::object();
    for (const auto& [key, value] : map) json[key] = ToJson(value);
    return json;
  }
  Json operator()(const auto& value) const { return value; }
};

Json ToJson(const model::Data& data) {
  return std::visit(JsonOf{}, data.value);
}

const model::Data* Member(const model::Data* data, std::string_view key) {
  const auto* map = data == nullptr ? nullptr : std::get_if<model::DataMap>(&data->value);
  if (map == nullptr) return nullptr;
  const auto at = std::ranges::find(*map, key, &model::DataMember::key);
  return at == map->end() ? nullptr : &at->value;
}

}  // namespace

std::string JsonText(const model::Data& data) {
  return ToJson(data).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<Tool> ToolsOf(const model::DataList& tools) {
  std::vector<Tool> known;
  for (const model::Data& description : tools) {
    const model::Data* function = Member(&description, "function");
    const model::Data* name = Member(function, "name");
    if (name == nullptr || !std::holds_alternative<std::string>(name->value)) continue;
    Tool tool = {.name = std::get<std::string>(name->value)};
    const model::Data* parameters = Member(function, "parameters");
    if (parameters != nullptr && std::holds_alternative<model::DataMap>(parameters->value))
      tool.parameters = JsonText(*parameters);
    const model::Data* properties = Member(parameters, "properties");
    if (properties != nullptr && std::holds_alternative<model::DataMap>(properties->value)) {
      for (const auto& [key, schema] : std::get<model::DataMap>(properties->value)) {
        const model::Data* type = Member(&schema, "type");
        if (type == nullptr || !std::holds_alternative<std::string>(type->value)) continue;
        tool.types.emplace(key, std::get<std::string>(type->value));
      }
    }
    known.push_back(std::move(tool));
  }
  return known;
}

const Tool* FindTool(const std::vector<Tool>& tools, std::string_view name) {
  const auto at = std::ranges::find(tools, name, &Tool::name);
  return at == tools.end() ? nullptr : &*at;
}

}  // namespace exo::chat
