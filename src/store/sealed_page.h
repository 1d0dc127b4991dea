// The files of the prefix store: a page of KV, layer by layer, and the text that it stands for.
// Sealed with a key of the node (base/seal.h); names are derived with that key too, so that nobody
// else can tell from them what was asked here.
//
// A file, little-endian:
//   0  8  "EXOKV1\0\0", or "EXOTX1\0\0" of a text
//   8  8  which key
//  16 16  tag of the page's key (TagOf)
//  32  4  layer_begin, 4 layer_end: [begin, end); of a text 0, 1
//  40  4  positions; of a text 0
//  44  4  index of the page in its sequence
//  48  8  bytes of a layer; of a text: of all of it
//  56     for each layer: 12 nonce, 16 tag, the bytes
// Each layer is authenticated with these 56 bytes and its number, so that a stage reads and opens
// only its own.
//
// Thread: pure but for Read*; any.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/page_store.h"
#include "base/result.h"
#include "base/seal.h"
#include "sys/files.h"

namespace exo::store {

// What a page is called on disk.
using PageTag = Bytes<struct PageTagTag, 16>;
// Of a page's key, or of a scope.
PageTag TagOf(const SealKey& key, const Hash256& name);

struct SealedHeader {
  PageTag tag;
  bool text = false;
  uint32_t layer_begin = 0;
  uint32_t layer_end = 0;
  uint32_t positions = 0;
  uint32_t index = 0;
  uint64_t layer_bytes = 0;

  uint32_t layers() const { return layer_end - layer_begin; }
  uint64_t file_bytes() const;
};

// All bytes of a file. `page.bytes` divide into as many parts as there are layers.
std::vector<std::byte> SealPage(const SealKey& key, const backend::PageStore::PageName& name,
                                const backend::PageStore::SavedPage& page);
std::vector<std::byte> SealText(const SealKey& key, const backend::PageText& text);

// Errors of all: kCorrupt (not such a file, sealed with another key, damaged), those of the file.
Result<SealedHeader> ReadHeader(const SealKey& key, const sys::ReadableFile& file);
// Some of its layers.
Result<backend::PageStore::SavedPage> ReadPage(const SealKey& key, const sys::ReadableFile& file,
                                               const backend::PageStore::PageName& name);
Result<backend::PageText> ReadText(const SealKey& key, const sys::ReadableFile& file);

// The node's key, made when there is none (0600). Errors: kIo, kInvalid (a file that is no key).
Result<SealKey> PrefixKey(const std::string& path);

}  // namespace exo::store
