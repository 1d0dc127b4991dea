// Models as Ollama describes them.
#pragma once

#include "node/api.h"
#include "service/json.h"

namespace exo::service::ollama {

Json TagsJson(const std::vector<node::ModelView>& models);
Json RunningJson(const node::ClusterView& cluster, const std::vector<node::ModelView>& models);
Json ShowJson(const node::ModelDetails& details);

}  // namespace exo::service::ollama
