// Which of a model's adapters answer, and how strongly.
#pragma once

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// llama-server's "lora": [{"id": 0, "scale": 0.5}], which every dialect reads; adapters that are
// not named are not used. Absent: as the model was loaded. Errors: 400 that names "lora".
Parsed<> ReadAdapters(const Json& body, node::GenerateRequest& request);

}  // namespace exo::service
