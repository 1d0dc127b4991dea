#include "service/default_model.h"

#include <algorithm>

namespace exo::service {

std::string DefaultModel(const node::Api& api) {
  std::vector<node::ModelView> models = api.Models();
  std::erase_if(models, [](const node::ModelView& model) { return !model.base.empty(); });
  const auto first = [&](auto wanted) {
    const auto found = std::ranges::find_if(models, wanted);
    return found == models.end() ? std::string() : found->name;
  };
  std::string name = first([](const node::ModelView& model) { return model.state == "ready"; });
  if (name.empty()) name = first([](const node::ModelView& model) { return model.local; });
  if (name.empty()) name = first([](const node::ModelView&) { return true; });
  return name;
}

}  // namespace exo::service
