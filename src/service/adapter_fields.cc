#include "service/adapter_fields.h"

#include <algorithm>

#include "service/fields.h"

namespace exo::service {
namespace {

constexpr double kMaxAdapterScale = 1000;  // beyond any use; keeps products finite

}  // namespace

Parsed<> ReadAdapters(const Json& body, node::GenerateRequest& request) {
  const Json* list = Find(body, "lora");
  if (list == nullptr) return {};
  const char* const what = "'lora' must be a list of objects such as {\"id\": 0, \"scale\": 0.5}";
  if (!list->is_array()) return BadValue("lora", what);
  if (list->size() > wire::kMaxAdapters) {
    return BadValue("lora", fmt::format("'lora' has {} entries, but at most {} are allowed",
                                        list->size(), wire::kMaxAdapters));
  }
  std::vector<wire::AdapterUse> uses;
  for (const Json& one : *list) {
    if (!one.is_object()) return BadValue("lora", what);
    const auto id = ReadInteger(one, "id", 0, wire::kMaxAdapters - 1);
    const auto scale = ReadNumber(one, "scale", {-kMaxAdapterScale, kMaxAdapterScale});
    if (!id || !scale || !*id)
      return BadValue("lora", !id ? id.error().message : !scale ? scale.error().message : what);
    uses.push_back({static_cast<uint32_t>(**id), static_cast<float>(scale->value_or(1))});
  }
  std::ranges::sort(uses);
  const auto twice = std::ranges::adjacent_find(uses, {}, &wire::AdapterUse::adapter);
  if (twice != uses.end())
    return BadValue("lora", fmt::format("'lora' names the adapter {} twice", twice->adapter));
  request.adapters = std::move(uses);
  return {};
}

}  // namespace exo::service
