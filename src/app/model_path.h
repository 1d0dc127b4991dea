// From what a user wrote (a name or a path) to a model's file or folder on this machine.
#pragma once

#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// Folders that are searched for models: the setting `models`, DATA/models, and the bundled models
// beside the program or under ../share/exo.
std::vector<std::string> ModelFolders(const Settings& settings);
// An existing file or folder is taken as it is; else NAME.gguf or a folder NAME in the folders.
// Errors: kNotFound naming the folders.
Result<std::string> FindModelPath(const Settings& settings, const std::string& model);
// The absolute path of an existing file, as the node is told it. Errors: kNotFound; kInvalid for a
// path that JSON cannot carry.
Result<std::string> PathForNode(const std::string& path);
// True when the text can only be a path (has a slash or ends in .gguf, and is no IsReference).
bool LooksLikePath(const std::string& model);
// True when the text says itself that it is a model of the hub, a registry or a server: hf:…,
// hf.co/…, huggingface.co/…, ollama:…, https://….
bool IsReference(const std::string& model);
// True when the text has the form OWNER/REPO[:…] of the hub, and nothing lies at that path.
bool MayBeRepository(const std::string& model);
// Where prepared files lie.
std::string PreparedFolder();

}  // namespace exo::app
