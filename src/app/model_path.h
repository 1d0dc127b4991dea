// From what a user wrote (a name or a path) to a GGUF file of this machine.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace exo::app {

// Folders that are searched for models: $EXO_MODELS (colon-separated), DATA/models, and the bundled
// models beside the program or under ../share/exo.
std::vector<std::string> ModelFolders();
// An existing file is taken as it is; else NAME.gguf in the folders. Errors: kNotFound naming the
// folders.
Result<std::string> FindModelPath(const std::string& model);
// True when the text can only be a path (has a slash or ends in .gguf).
// Where prepared files lie.
std::string PreparedFolder();
bool LooksLikePath(const std::string& model);

}  // namespace exo::app
