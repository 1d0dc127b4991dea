// The two forms of a prompt: a list of chat messages, or raw text or token ids.
#pragma once

#include <vector>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// "messages". Text parts are joined by line breaks; developer becomes system, function
// tool; everything that is not text gets 400. `text` is what `body` was parsed from.
Parsed<std::vector<model::ChatMessage>> ReadMessages(const Json& body, std::string_view text);

// "prompt": a string, a list with one string, a list of token ids, or a list with one such list.
Parsed<> ReadPrompt(const Json& body, node::GenerateRequest& request);

}  // namespace exo::service
