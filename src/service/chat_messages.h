// A chat: the list of its messages.
#pragma once

#include <vector>

#include "service/errors.h"
#include "service/json.h"

namespace exo::service {

// "messages". Text parts are joined by line breaks; developer becomes system, function
// tool; everything that is not text gets 400. `text` is what `body` was parsed from.
Parsed<std::vector<model::ChatMessage>> ReadMessages(const Json& body, std::string_view text);

}  // namespace exo::service
