#include "store/sealed_page.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/sha256.h"
#include "store/bytes.h"

namespace exo::store {
namespace {

using backend::PageStore;
using backend::PageText;

constexpr std::string_view kPageMagic{"EXOKV1\0\0", 8};
constexpr std::string_view kTextMagic{"EXOTX1\0\0", 8};
constexpr size_t kHeader = 56;
constexpr size_t kPerLayer = sizeof(SealNonce) + sizeof(SealTag);
// Limits on what a header may say, before anything is allocated.
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kMaxPositions = 256;
constexpr uint64_t kMaxLayerBytes = 1u << 30;

Hash256 Derived(const SealKey& key, std::string_view what, std::span<const std::byte> bytes) {
  return Sha256().Update(what).Update(key).Update(bytes).Finish();
}

std::span<const std::byte> KeyId(const Hash256& hash) {
  return BytesOf(hash).first(8);
}

std::vector<std::byte> HeaderBytes(const SealKey& key, const SealedHeader& header) {
  std::vector<std::byte> out;
  Append(out, BytesOf(header.text ? kTextMagic : kPageMagic));
  Append(out, KeyId(Derived(key, "exo prefix key", {})));
  Append(out, BytesOf(header.tag));
  for (const uint32_t value :
       {header.layer_begin, header.layer_end, header.positions, header.index})
    AppendInt(out, value);
  AppendInt(out, header.layer_bytes);
  CHECK_EQ(out.size(), kHeader);
  return out;
}

// What a layer is authenticated with.
std::vector<std::byte> Known(std::span<const std::byte> header, uint32_t layer) {
  std::vector<std::byte> known(header.begin(), header.end());
  AppendInt(known, layer);
  return known;
}

std::vector<std::byte> SealAll(const SealKey& key, const SealedHeader& header,
                               std::span<const std::byte> bytes) {
  const auto head = HeaderBytes(key, header);
  std::vector<std::byte> out;
  out.reserve(header.file_bytes());
  Append(out, head);
  for (uint32_t layer = header.layer_begin; layer < header.layer_end; ++layer) {
    const auto part =
        bytes.subspan((layer - header.layer_begin) * header.layer_bytes, header.layer_bytes);
    const auto nonce = sys::RandomValue<SealNonce>();
    Append(out, nonce);
    const size_t at = out.size();
    out.resize(at + sizeof(SealTag));
    Append(out, part);
    const SealTag tag =
        Seal(key, nonce, Known(head, layer), std::span(out).subspan(at + sizeof(SealTag)));
    std::ranges::copy(tag, out.begin() + static_cast<ptrdiff_t>(at));
  }
  return out;
}

// Layers [begin, end) of a file with this header, unsealed where they were read: pages are
// megabytes, and fresh memory costs as much as opening them.
Result<std::vector<std::byte>> ReadLayers(const SealKey& key, const sys::ReadableFile& file,
                                          const SealedHeader& header, uint32_t begin,
                                          uint32_t end) {
  const auto head = HeaderBytes(key, header);
  const size_t sealed = kPerLayer + header.layer_bytes;
  std::vector<std::byte> bytes((end - begin) * sealed);
  TRY(file.Read(kHeader + (begin - header.layer_begin) * sealed, bytes));
  for (uint32_t layer = begin; layer < end; ++layer) {
    const auto from = std::span(bytes).subspan((layer - begin) * sealed, sealed);
    const auto part = from.subspan(kPerLayer);
    SealNonce nonce;
    SealTag tag;
    std::ranges::copy(from.first(nonce.size()), nonce.begin());
    std::ranges::copy(from.subspan(nonce.size(), tag.size()), tag.begin());
    if (!Unseal(key, nonce, tag, Known(head, layer), part))
      return Fail(ErrorCode::kCorrupt, "layer {} of a stored page is damaged", layer);
    std::memmove(bytes.data() + (layer - begin) * header.layer_bytes, part.data(), part.size());
  }
  bytes.resize((end - begin) * header.layer_bytes);
  return bytes;
}

template <class Id>
Result<Id> TakeId(ByteReader& reader) {
  Id id;
  const auto bytes = TRY(reader.Take(id.bytes.size()));
  std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

}  // namespace

uint64_t SealedHeader::file_bytes() const {
  return kHeader + layers() * (kPerLayer + layer_bytes);
}

PageTag TagOf(const SealKey& key, const Hash256& name) {
  const Hash256 hash = Derived(key, "exo prefix name", BytesOf(name));
  PageTag tag;
  std::copy_n(hash.bytes.begin(), tag.bytes.size(), tag.bytes.begin());
  return tag;
}

std::vector<std::byte> SealPage(const SealKey& key, const PageStore::PageName& name,
                                const PageStore::SavedPage& page) {
  const uint32_t layers = name.layer_end - name.layer_begin;
  CHECK(layers > 0 && page.bytes.size() % layers == 0);
  return SealAll(key,
                 {.tag = TagOf(key, name.key),
                  .layer_begin = name.layer_begin,
                  .layer_end = name.layer_end,
                  .positions = page.positions,
                  .index = name.index,
                  .layer_bytes = page.bytes.size() / layers},
                 page.bytes);
}

std::vector<std::byte> SealText(const SealKey& key, const PageText& text) {
  std::vector<std::byte> out;
  for (const Hash256& hash : {text.key, text.scope, text.parent}) Append(out, BytesOf(hash));
  for (const TokenId token : text.tokens) AppendInt(out, static_cast<uint32_t>(token));
  return SealAll(key,
                 {.tag = TagOf(key, text.key),
                  .text = true,
                  .layer_end = 1,
                  .index = text.index,
                  .layer_bytes = out.size()},
                 out);
}

Result<SealedHeader> ReadHeader(const SealKey& key, const sys::ReadableFile& file) {
  std::vector<std::byte> bytes(kHeader);
  TRY(file.Read(0, bytes));
  ByteReader reader(bytes, "a stored page");
  const auto magic = TRY(reader.Take(kPageMagic.size()));
  SealedHeader header{.text = std::ranges::equal(magic, BytesOf(kTextMagic))};
  const auto key_id = TRY(reader.Take(8));
  header.tag = TRY(TakeId<PageTag>(reader));
  header.layer_begin = TRY(reader.TakeInt<uint32_t>());
  header.layer_end = TRY(reader.TakeInt<uint32_t>());
  header.positions = TRY(reader.TakeInt<uint32_t>());
  header.index = TRY(reader.TakeInt<uint32_t>());
  header.layer_bytes = TRY(reader.TakeInt<uint64_t>());
  if (!header.text && !std::ranges::equal(magic, BytesOf(kPageMagic)))
    return Fail(ErrorCode::kCorrupt, "not a stored page");
  if (!std::ranges::equal(key_id, KeyId(Derived(key, "exo prefix key", {}))))
    return Fail(ErrorCode::kCorrupt, "a page that was stored with another key");
  if (header.layer_begin >= header.layer_end || header.layer_end > kMaxLayers ||
      header.positions > kMaxPositions || header.layer_bytes > kMaxLayerBytes ||
      header.file_bytes() != file.stamp().bytes) {
    return Fail(ErrorCode::kCorrupt,
                "a stored page of layers {} to {} with {} positions and {} bytes each, in a file "
                "of {} bytes",
                header.layer_begin, header.layer_end, header.positions, header.layer_bytes,
                file.stamp().bytes);
  }
  return header;
}

Result<PageStore::SavedPage> ReadPage(const SealKey& key, const sys::ReadableFile& file,
                                      const PageStore::PageName& name) {
  const SealedHeader header = TRY(ReadHeader(key, file));
  if (header.text || header.tag != TagOf(key, name.key) || name.layer_begin >= name.layer_end ||
      header.layer_begin > name.layer_begin || header.layer_end < name.layer_end) {
    return Fail(ErrorCode::kCorrupt, "a stored page of layers {} to {}, not of {} to {}",
                header.layer_begin, header.layer_end, name.layer_begin, name.layer_end);
  }
  return PageStore::SavedPage{
      .positions = header.positions,
      .bytes = TRY(ReadLayers(key, file, header, name.layer_begin, name.layer_end))};
}

Result<PageText> ReadText(const SealKey& key, const sys::ReadableFile& file) {
  const SealedHeader header = TRY(ReadHeader(key, file));
  constexpr size_t kHashes = 3 * sizeof(Hash256::bytes);
  if (!header.text || header.layer_begin != 0 || header.layer_end != 1 ||
      header.layer_bytes < kHashes + 4 || header.layer_bytes > kHashes + 4 * kMaxPositions ||
      header.layer_bytes % 4 != 0) {
    return Fail(ErrorCode::kCorrupt, "a text of {} bytes", header.layer_bytes);
  }
  const auto bytes = TRY(ReadLayers(key, file, header, 0, 1));
  ByteReader reader(bytes, "a stored text");
  PageText text{.index = header.index};
  text.key = TRY(TakeId<Hash256>(reader));
  text.scope = TRY(TakeId<Hash256>(reader));
  text.parent = TRY(TakeId<Hash256>(reader));
  while (!reader.done())
    text.tokens.push_back(static_cast<TokenId>(TRY(reader.TakeInt<uint32_t>())));
  return text;
}

Result<SealKey> PrefixKey(const std::string& path) {
  SealKey key{};
  if (sys::NameExists(path)) {
    const std::string text = TRY(sys::ReadPlainFile(path, 4096));
    if (text.size() != key.size()) {
      return Fail(ErrorCode::kInvalid,
                  "{} has {} bytes, a key has {}; remove it and the folder prefix beside it", path,
                  text.size(), key.size());
    }
    std::ranges::copy(BytesOf(text), key.begin());
    return key;
  }
  key = sys::RandomValue<SealKey>();
  const std::string text(reinterpret_cast<const char*>(key.data()), key.size());
  TRY(sys::WriteFileAtomically(path, text, 0600));
  return key;
}

}  // namespace exo::store
