#include "chat/schema_view.h"

#include <algorithm>
#include <iterator>

namespace exo::chat {

std::string Dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

const OrderedJson* MemberOf(const OrderedJson& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() ? nullptr : &*at;
}

bool IsRequired(const OrderedJson& schema, const std::string& name) {
  const OrderedJson* listed = MemberOf(schema, "required");
  return listed != nullptr && listed->is_array() &&
         std::ranges::find(*listed, OrderedJson(name)) != listed->end();
}

std::string OtherThan(const OrderedJson& schema, std::initializer_list<std::string_view> held) {
  constexpr std::string_view kAnnotations[] = {
      "title",    "description", "default",  "examples",  "$schema", "$id",
      "$comment", "deprecated",  "readOnly", "writeOnly", "$defs",   "definitions"};
  for (const auto& [name, value] : schema.items()) {
    if (std::ranges::find(held, name) == held.end() &&
        std::ranges::find(kAnnotations, name) == std::end(kAnnotations))
      return name;
  }
  return "";
}

std::string KeywordNotHeldOfObject(const OrderedJson& schema,
                                   const std::function<std::string(const OrderedJson&)>& of_value) {
  const OrderedJson* properties = MemberOf(schema, "properties");
  const OrderedJson* others = MemberOf(schema, "additionalProperties");
  if (properties == nullptr && others != nullptr && *others != true) return "additionalProperties";
  std::string keyword =
      OtherThan(schema, {"type", "properties", "required", "additionalProperties"});
  if (!keyword.empty()) return keyword;
  const OrderedJson none = OrderedJson::object();
  const OrderedJson& known = properties == nullptr ? none : *properties;
  if (const OrderedJson* required = MemberOf(schema, "required")) {
    for (const OrderedJson& name : *required)
      if (!known.contains(name.get_ref<const std::string&>())) return "required";
  }
  for (const auto& [name, property] : known.items()) {
    keyword = of_value(property);
    if (!keyword.empty()) return keyword;
  }
  return "";
}

}  // namespace exo::chat
