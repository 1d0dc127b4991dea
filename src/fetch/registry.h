// The Ollama registry, which is one of containers with layers of its own kinds, and the stores of
// Ollama on this device.
//
// Thread: any; blocks.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "fetch/reference.h"
#include "fetch/source.h"

namespace exo::fetch {

// What a registry says of a model; of Ollama's own store, where the registry cannot be reached.
// Only the layer with the weights counts: templates and parameters in Ollama's form are left, since
// a GGUF file brings its own.
// Errors: kNotFound, kUnsupported (it has no GGUF layer), kDisconnected, kInvalid, kOverloaded,
// kCorrupt, kCancelled.
Result<RemoteModel> AskRegistry(const Sources& sources, const Reference& reference,
                                const std::atomic<bool>* cancel);

// The layer with the weights.
struct ModelLayer {
  std::string sha256;  // lower-case hexadecimal
  uint64_t bytes = 0;
};
// `name`: for messages. Errors: kCorrupt, kUnsupported (it has no GGUF layer, or several).
// Thread: pure.
Result<ModelLayer> ParseRegistryManifest(const std::string& text, const std::string& name);

}  // namespace exo::fetch
