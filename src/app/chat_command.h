// `exo run MODEL` on a terminal, without a prompt: a chat.
#pragma once

#include "app/client_commands.h"
#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// True when a question is neither given nor piped in, and both ends are a terminal.
bool WantsChat(const AskOptions& options);
// Goes on until the user leaves. The model is a name that the node knows, or that it may pull.
// Errors: those of the node and of the terminal, before the first question.
Result<void> RunChat(const Settings& settings, const HttpClient& api, const AskOptions& options);

}  // namespace exo::app
