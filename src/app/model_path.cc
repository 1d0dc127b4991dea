#include "app/model_path.h"

#include <fmt/ranges.h>

#include <cstdlib>

#include "sys/files.h"
#include "sys/process.h"
#include "sys/system.h"

namespace exo::app {

std::vector<std::string> ModelFolders() {
  std::vector<std::string> folders;
  if (const char* extra = std::getenv("EXO_MODELS")) {
    std::string text = extra;
    for (size_t at = 0; at <= text.size();) {
      const size_t end = std::min(text.find(':', at), text.size());
      if (end > at) folders.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  folders.push_back(sys::DataFolder() + "/models");
  if (const auto program = sys::OwnPath()) {
    const std::string folder = program->substr(0, program->rfind('/'));
    for (const char* relative : {"/models", "/../share/exo/models", "/../../models"}) {
      if (sys::Exists(folder + relative)) folders.push_back(folder + relative);
    }
  }
  return folders;
}

std::string PreparedFolder() {
  return sys::DataFolder() + "/prepared";
}

bool LooksLikePath(const std::string& model) {
  return model.find('/') != std::string::npos || model.ends_with(".gguf");
}

Result<std::string> FindModelPath(const std::string& model) {
  if (LooksLikePath(model)) {
    if (sys::Exists(model)) return model;
    return Fail(ErrorCode::kNotFound, "there is no file {}", model);
  }
  for (const std::string& folder : ModelFolders()) {
    for (const std::string& file : sys::ListFolder(folder)) {
      if (file == model + ".gguf" ||
          (file.starts_with(model + "-00001-of-") && file.ends_with(".gguf"))) {
        return folder + "/" + file;
      }
    }
  }
  return Fail(ErrorCode::kNotFound,
              "no model '{}' in {}; give the path of a GGUF file, or put one there", model,
              fmt::join(ModelFolders(), ", "));
}

}  // namespace exo::app
