// The JSON of models, nodes, instances and plans.
#pragma once

#include "node/api.h"
#include "service/json.h"

namespace exo::service {

// One entry of /v1/models: the union of what OpenAI, Anthropic, vLLM, llama.cpp and LM Studio
// clients read.
Json ModelJson(const node::ModelView& model);
Json ModelListJson(const std::vector<node::ModelView>& models);
Json ClusterJson(const node::ClusterView& cluster);
Json PlanJson(const node::PlanView& plan);

}  // namespace exo::service
