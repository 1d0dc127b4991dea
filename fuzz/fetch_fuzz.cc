// What strangers name and answer: references, lists of repositories, manifests, ranges.
// The first byte says which; what is taken must be safe to use as a name below a folder.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "fetch/hub.h"
#include "fetch/pieces.h"
#include "fetch/reference.h"
#include "fetch/registry.h"
#include "fetch/status.h"

namespace {

using namespace exo::fetch;

void FuzzReference(const std::string& text) {
  const auto reference = ParseReference(text);
  if (!reference) return;
  const auto again = ParseReference(reference->Text());
  CHECK(again.has_value());
  CHECK(*again == *reference);
  if (reference->kind != SourceKind::kUrl) CHECK(IsSafeFileName(reference->repository));
}

void FuzzListing(const std::string& text) {
  const auto listing = ParseHubListing(text, "hub");
  if (!listing) return;
  for (const char* choice : {"", "Q4_K_M", "m.gguf"}) {
    const auto files = ChooseFiles(listing->files, choice);
    if (!files) continue;
    for (const ListedFile& file : *files) CHECK(IsSafeFileName(file.name));
    CHECK(StemOf((*files)[0].name).find('/') == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      FuzzReference(text);
      break;
    case 1:
      FuzzListing(text);
      break;
    case 2:
      if (const auto layer = ParseRegistryManifest(text, "name"))
        CHECK_EQ(layer->sha256.size(), 64u);
      break;
    case 3:
      if (const auto pieces = Pieces::Parse(text, 3 * kPieceBytes, "mark"))
        CHECK_LE(pieces->completed(), pieces->bytes());
      break;
    default:
      (void)ParseContentRange(text);
  }
  return 0;
}
