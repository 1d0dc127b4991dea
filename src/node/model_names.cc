#include "node/model_names.h"

namespace exo::node {

bool IsNameOf(const std::string& asked, const ModelId& id, const std::string& name,
              const std::string& device) {
  if (!asked.starts_with(name)) return asked == id.Hex();
  const std::string rest = asked.substr(name.size());
  return rest.empty() || rest == "@" + device || rest == "@" + id.Short() || asked == id.Hex();
}

void ModelNames::Add(const ModelId& id, const std::string& name, const std::string& device) {
  meanings_[name].insert(id);
  meanings_[name + "@" + device].insert(id);
}

std::string ModelNames::Distinct(const ModelId& id, const std::string& name,
                                 const std::string& device) const {
  if (MeansOnly(name, id)) return name;
  // Without a device it runs only: its file was replaced, or has left with the node that held it.
  const std::string here = name + "@" + device;
  return !device.empty() && MeansOnly(here, id) ? here : name + "@" + id.Short();
}

bool ModelNames::MeansOnly(const std::string& name, const ModelId& id) const {
  const auto found = meanings_.find(name);
  return found == meanings_.end() || found->second == std::set<ModelId>{id};
}

}  // namespace exo::node
