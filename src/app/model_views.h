// Commands that show models and name them: models, show, cp.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "app/http_client.h"
#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// What the node's list says of a model. Errors: kNotFound with the name that was probably meant.
Result<nlohmann::json> GetModel(const HttpClient& api, const std::string& name);

struct ListOptions {
  bool json = false;
  bool names = false;  // only names, one a line
};
Result<void> RunModels(const Settings& settings, const ListOptions& options);

// What a model is, what it can do, and where its file lies. `model`: a name, or a path that the
// node is then told of. Errors: kNotFound, those of reading its file.
Result<void> RunShow(const Settings& settings, const std::string& model, bool json);

struct CopyOptions {
  std::string model;
  std::string name;
  bool json = false;
};
// A further name for a model, with its settings. Errors: kNotFound, kInvalid (the name is taken).
Result<void> RunCopy(const Settings& settings, const CopyOptions& options);

// 596049920 -> "596 M", 7.2e9 -> "7.2 B".
std::string CountText(uint64_t count);

}  // namespace exo::app
