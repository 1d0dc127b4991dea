#include "chat/tools.h"

#include <algorithm>

#include "chat/schema_view.h"

namespace exo::chat {
namespace {

using Json = OrderedJson;

Json ToJson(const model::Data& data);

struct JsonOf {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const model::DataList& list) const {
    Json json = Json::array();
    for (const model::Data& item : list) json.push_back(ToJson(item));
    return json;
  }
  Json operator()(const model::DataMap& map) const {
    // Keys are unique: they need not be looked for.
    Json::object_t object;
    for (const auto& [key, value] : map) object.emplace_back(key, ToJson(value));
    return object;
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

const std::string* TextOf(const model::Data* data) {
  return data == nullptr ? nullptr : std::get_if<std::string>(&data->value);
}

// What a property refers to and says nothing about by itself; null: it is no such.
const model::Data* Referred(const model::Data& property, const model::Data& schema) {
  const std::string* ref = TextOf(Member(&property, "$ref"));
  if (ref == nullptr) return nullptr;
  for (const model::DataMember& other : std::get<model::DataMap>(property.value)) {
    if (other.key != "$ref" && other.key != "description" && other.key != "title" &&
        other.key != "default")
      return nullptr;
  }
  for (const char* shared : {"$defs", "definitions"}) {
    const std::string begin = std::string("#/") + shared + "/";
    if (ref->starts_with(begin)) return Member(Member(&schema, shared), ref->substr(begin.size()));
  }
  return nullptr;
}

// The schema with definitions in place of properties that refer to them, so that what a property is
// shows at once.
model::Data Resolved(const model::Data& schema) {
  model::Data out = schema;
  for (auto& [key, value] : std::get<model::DataMap>(out.value)) {
    if (key != "properties" || !std::holds_alternative<model::DataMap>(value.value)) continue;
    for (auto& [name, property] : std::get<model::DataMap>(value.value)) {
      for (int depth = 0; depth < 8; ++depth) {
        const model::Data* referred = Referred(property, schema);
        if (referred == nullptr) break;
        property = *referred;
      }
    }
  }
  return out;
}

// The one type of a property's values; empty: it is not said.
std::string TypeOf(const model::Data& property) {
  if (const std::string* type = TextOf(Member(&property, "type"))) return *type;
  const model::Data* values = Member(&property, "enum");
  const auto* list = values == nullptr ? nullptr : std::get_if<model::DataList>(&values->value);
  const bool strings =
      list != nullptr && !list->empty() && std::ranges::all_of(*list, [](const model::Data& one) {
        return std::holds_alternative<std::string>(one.value);
      });
  return strings ? "string" : "";
}

}  // namespace

std::string JsonText(const model::Data& data) {
  return Dump(ToJson(data));
}

std::vector<Tool> ToolsOf(const model::DataList& tools) {
  std::vector<Tool> known;
  for (const model::Data& description : tools) {
    const model::Data* function = Member(&description, "function");
    const model::Data* name = Member(function, "name");
    if (name == nullptr || !std::holds_alternative<std::string>(name->value)) continue;
    Tool tool = {.name = std::get<std::string>(name->value)};
    const model::Data* parameters = Member(function, "parameters");
    if (parameters != nullptr && std::holds_alternative<model::DataMap>(parameters->value)) {
      const model::Data schema = Resolved(*parameters);
      tool.parameters = JsonText(schema);
      const model::Data* properties = Member(&schema, "properties");
      if (properties != nullptr && std::holds_alternative<model::DataMap>(properties->value)) {
        for (const auto& [key, property] : std::get<model::DataMap>(properties->value)) {
          if (std::string type = TypeOf(property); !type.empty())
            tool.types.emplace(key, std::move(type));
        }
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

std::string WithoutProperties(const std::string& schema,
                              const std::function<bool(const std::string&)>& keeps) {
  Json json = Json::parse(schema, nullptr, false);
  const auto properties = json.is_object() ? json.find("properties") : json.end();
  if (properties == json.end() || !properties->is_object()) return schema;
  for (auto& [name, property] : properties->items()) {
    Json alone = property;
    for (const char* shared : {"$defs", "definitions"}) {
      if (alone.is_object() && json.contains(shared)) alone[shared] = json[shared];
    }
    if (!keeps(Dump(alone))) property = true;
  }
  return Dump(json);
}

}  // namespace exo::chat
