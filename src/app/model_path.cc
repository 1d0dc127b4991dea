#include "app/model_path.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "base/text.h"
#include "fetch/reference.h"
#include "store/checkpoint_folder.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// The path itself. Errors: kNotFound, kInvalid (a folder without a model, a pipe, ...), kIo.
Result<std::string> FileAt(const std::string& path) {
  if (!sys::NameExists(path)) return Fail(ErrorCode::kNotFound, "there is no file {}", path);
  TRY(store::LookAtModel(sys::RealDisk(), path));
  return path;
}

}  // namespace

std::vector<std::string> ModelFolders(const Settings& settings) {
  std::vector<std::string> folders = settings.models;
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

bool IsReference(const std::string& model) {
  constexpr std::string_view kBeginnings[] = {"hf:", "hf.co/", "huggingface.co/",
                                              "ollama:", "https://"};
  return std::ranges::any_of(kBeginnings,
                             [&](std::string_view one) { return model.starts_with(one); });
}

bool LooksLikePath(const std::string& model) {
  if (IsReference(model)) return false;
  return model.find('/') != std::string::npos || model.ends_with(".gguf");
}

bool MayBeRepository(const std::string& model) {
  if (IsReference(model) || sys::NameExists(model)) return false;
  const auto reference = fetch::ParseReference(model);
  return reference && reference->kind == fetch::SourceKind::kHub;
}

Result<std::string> PathForNode(const std::string& path) {
  TRY(FileAt(path));
  if (!IsUtf8(path)) {
    return Fail(ErrorCode::kInvalid,
                "the path {} is not UTF-8; rename the file, or give a link with another name",
                path);
  }
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return Fail(ErrorCode::kIo, "{}: {}", path, error.message());
  return absolute.string();
}

Result<std::string> FindModelPath(const Settings& settings, const std::string& model) {
  if (LooksLikePath(model)) {
    return FileAt(model);
  }
  const std::vector<std::string> folders = ModelFolders(settings);
  for (const std::string& folder : folders) {
    for (const std::string& file : sys::ListFolder(folder)) {
      if (file == model + ".gguf" ||
          (file.starts_with(model + "-00001-of-") && file.ends_with(".gguf")) ||
          (file == model && store::IsCheckpoint(sys::RealDisk(), folder + "/" + file))) {
        return folder + "/" + file;
      }
    }
  }
  return Fail(ErrorCode::kNotFound,
              "no model '{}' in {}; give the path of a GGUF file or of a folder of safetensors, or "
              "put one there",
              model, fmt::join(folders, ", "));
}

}  // namespace exo::app
