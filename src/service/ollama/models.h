// Models as Ollama describes them.
#pragma once

#include "node/api.h"
#include "service/json.h"

namespace exo::service::ollama {

Json TagsJson(const std::vector<node::ModelView>& models);
Json RunningJson(const node::ClusterView& cluster, const std::vector<node::ModelView>& models);
// `preset`: what is asked for, when it was created; null: a model itself.
Json ShowJson(const node::ModelDetails& details, const node::Preset* preset);

}  // namespace exo::service::ollama
