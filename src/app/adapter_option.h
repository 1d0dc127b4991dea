// FILE[:SCALE] of --lora, and MODEL=FILE[:SCALE] of the setting `lora`.
#pragma once

#include <string>

#include "base/result.h"
#include "node/node.h"

namespace exo::app {

// What stands behind the last colon is the scale, or the end of a name with .gguf or a slash.
// Errors: kInvalid (neither; nothing in front of the scale; a scale outside -1000 to 1000).
Result<node::AdapterChoice> ParseAdapter(const std::string& text);
// Errors: those of ParseAdapter; kInvalid without a model.
Result<node::NodeOptions::ModelAdapter> ParseModelAdapter(const std::string& text);

}  // namespace exo::app
