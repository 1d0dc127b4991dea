// A file of the prefix store as somebody with the disk may leave it: refused, or one whose parts
// lie inside it. The first byte says as what it is read; what was sealed is read back as it was.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "store/sealed_page.h"
#include "sys/fake/disk.h"

using exo::backend::PageStore;
namespace store = exo::store;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const exo::SealKey key{};
  const PageStore::PageName name{.layer_begin = 1, .layer_end = 1u + (data[0] >> 4)};
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  const exo::sys::MemoryFile file(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  if (const auto header = store::ReadHeader(key, file);
      header && (header->file_bytes() != bytes.size() || header->layers() == 0))
    std::abort();
  if (data[0] % 2 == 0) {
    const auto page = store::ReadPage(key, file, name);
    if (page && page->bytes.size() > bytes.size()) std::abort();
    const auto text = store::ReadText(key, file);
    if (text && (text->tokens.empty() || text->tokens.size() > 256)) std::abort();
    return 0;
  }
  const uint32_t layers = name.layer_end - name.layer_begin;
  if (layers == 0 || bytes.size() < layers) return 0;
  const auto whole = bytes.first(bytes.size() / layers * layers);
  const auto sealed =
      store::SealPage(key, name, {.positions = 256, .bytes = {whole.begin(), whole.end()}});
  const exo::sys::MemoryFile written(
      std::string(reinterpret_cast<const char*>(sealed.data()), sealed.size()));
  const auto page = store::ReadPage(key, written, name);
  if (!page || !std::ranges::equal(page->bytes, whole)) std::abort();
  return 0;
}
