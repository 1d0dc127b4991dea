// Where models are pulled from, by the variables that other programs of this machine read, too.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"
#include "fetch/source.h"

namespace exo::app {

// HF_ENDPOINT, HF_TOKEN (or the file that `hf auth login` writes), HF_HOME, HF_HUB_CACHE,
// OLLAMA_MODELS, SSL_CERT_FILE, and the setting `registry`. Errors: kInvalid (HF_ENDPOINT is no
// address).
Result<fetch::Sources> PullSources(const Settings& settings);

// "https://hub.example/" -> "https://hub.example". Errors: kInvalid with the text.
Result<std::string> ParseEndpoint(const std::string& text);

}  // namespace exo::app
