// /v1/chat/completions and /v1/completions: from what was asked to its answer.
//
// Thread: reading any; the rest the event loop.
#pragma once

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/openai/parse_request.h"

namespace exo::service::openai {

// `request` is what `call` was parsed from.
Parsed<Action> AnswerCompletion(node::Api& api, HttpRequest& request, Parsed<CompletionCall> call);

}  // namespace exo::service::openai
