// /v1/models: the union of what OpenAI, Anthropic, vLLM, llama.cpp and LM Studio clients read.
#pragma once

#include <vector>

#include "node/api.h"
#include "service/json.h"

namespace exo::service::openai {

Json ModelJson(const node::ModelView& model);
Json ModelListJson(const std::vector<node::ModelView>& models);

}  // namespace exo::service::openai
