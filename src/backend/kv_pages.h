// The KV cache of one sequence: pages of 256 positions of all layers that a stage holds, taken as
// the sequence grows, shared with the sequences that were forked from it and copied before one of
// them writes to a page that another one has too.
//
// Thread: one caller at a time for all tables of a stage.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/buffer.h"
#include "kernels/kernels.h"

namespace exo::backend {

// What lies in a page: for each layer and KV head the tiles of the keys, then those of the values.
struct KvLayout {
  kernels::KvType type = kernels::KvType::kF16;
  size_t head_dim = 0;
  size_t layers = 0;
  size_t heads = 0;

  size_t tile_bytes() const { return kernels::KvTileBytes(type, head_dim); }
  // Keys, or values, of one head.
  size_t part_bytes() const { return kernels::kKvPage / kernels::kKvTile * tile_bytes(); }
  size_t parts() const { return 2 * layers * heads; }
  size_t page_bytes() const { return parts() * part_bytes(); }
};

class KvPages {
 public:
  explicit KvPages(const KvLayout& layout) : layout_(layout) {}

  // Makes positions [first, end) writable: takes pages up to `end` and copies the shared page that
  // `first` lies in. Pages from `first` on that are shared otherwise are replaced, not copied.
  // Errors: kOverloaded when the system refuses memory; what there was stays.
  Result<void> Reserve(uint32_t first, uint32_t end);
  // Positions from `length` on are not needed any more.
  void Truncate(uint32_t length);
  // The first `length` positions, shared.
  KvPages Share(uint32_t length) const;

  // Of one layer and head; valid until the next change.
  kernels::KvHead Head(size_t layer, size_t head) const;
  size_t pages() const { return pages_.size(); }

 private:
  using Page = std::shared_ptr<Buffer>;
  Result<Page> Take() const;
  void CopyTiles(const Buffer& from, uint32_t positions, Buffer& to) const;

  KvLayout layout_;
  std::vector<Page> pages_;
  std::vector<std::byte*> table_;  // of pages_
};

}  // namespace exo::backend
