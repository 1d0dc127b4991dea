// /v1/embeddings, and what vLLM serves beside it: /v1/score. Also /v1/rerank, of Jina's form, which
// llama-server has too.
//
// Thread: reading any; the rest the event loop.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"

namespace exo::service::openai {

Parsed<Action> ReadEmbeddings(node::Api& api, HttpRequest request);
Parsed<Action> ReadRerank(node::Api& api, HttpRequest request);
Parsed<Action> ReadScore(node::Api& api, HttpRequest request);

}  // namespace exo::service::openai
