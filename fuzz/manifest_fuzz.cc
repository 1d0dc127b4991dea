// A manifest as any member may send it: refused, or one whose every tensor lies inside its files.
#include <cstdint>
#include <cstdlib>

#include "store/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto manifest = exo::store::Manifest::FromBytes({bytes.begin(), bytes.end()});
  if (!manifest) return 0;
  for (const auto& tensor : (*manifest)->gguf().tensors()) {
    if (tensor.bytes > (*manifest)->file_bytes()) std::abort();
    if (!(*manifest)->HashOf(tensor.name)) std::abort();
  }
  return 0;
}
