// Names that mean one model each, when files and devices share theirs.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/ids.h"

namespace exo::node {

// Whether `asked` is a name of a model that `device` holds as `name`: NAME, NAME@DEVICE, NAME@ID
// with the first 8 digits of the id, or the whole id.
bool IsNameOf(const std::string& asked, const ModelId& id, const std::string& name,
              const std::string& device);

class ModelNames {
 public:
  void Add(const ModelId& id, const std::string& name, const std::string& device);
  // The first of NAME, NAME@DEVICE and NAME@ID that means no other model.
  std::string Distinct(const ModelId& id, const std::string& name, const std::string& device) const;

 private:
  bool MeansOnly(const std::string& name, const ModelId& id) const;

  std::map<std::string, std::set<ModelId>> meanings_;
};

}  // namespace exo::node
