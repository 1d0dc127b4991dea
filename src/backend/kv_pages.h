// The KV cache of one sequence: pages of 256 positions of all layers that a stage holds, taken as
// the sequence grows, shared with the sequences that were forked from it and copied before one of
// them writes to a page that another one has too. Layers with a window have a table of their own,
// which lets go of the pages that no further position attends to.
//
// Thread: one caller at a time for all tables of a stage.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
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
  uint32_t window = 0;  // last positions that a position attends to, its own included; 0: all

  size_t tile_bytes() const { return kernels::KvTileBytes(type, head_dim); }
  // Keys, or values, of one head.
  size_t part_bytes() const { return kernels::kKvPage / kernels::kKvTile * tile_bytes(); }
  size_t parts() const { return 2 * layers * heads; }
  size_t page_bytes() const { return parts() * part_bytes(); }
  // A layer of a page outside of a cache, with no more tiles than its positions need.
  size_t saved_bytes(uint32_t positions) const {
    return 2 * heads * ((positions + kernels::kKvTile - 1) / kernels::kKvTile) * tile_bytes();
  }
};

class KvPages {
 public:
  explicit KvPages(const KvLayout& layout) : layout_(layout) {}

  // Makes positions [first, end) writable: takes pages up to `end` and copies the shared page that
  // `first` lies in. Pages from `first` on that are shared otherwise are replaced, not copied. What
  // lies before the window of `first` is let go. The page of `first` must not have been, unless
  // it is 0; what is computed there needs Reaches(first) as well, what is loaded does not.
  // Errors: kOverloaded when the system refuses memory; what there was stays.
  Result<void> Reserve(uint32_t first, uint32_t end);
  // Of layers with a window: lets go of everything, and goes on behind `end`, a multiple of a page.
  void Skip(uint32_t end);
  // Whether all is here that a position written at `length` attends to; true of 0.
  bool Reaches(uint32_t length) const;
  // Positions from `length` on are not needed any more.
  void Truncate(uint32_t length);
  // The first `length` positions, shared, as far as they are here.
  KvPages Share(uint32_t length) const;

  // Whether page `index` is here: reserved, and not let go.
  bool Has(size_t index) const { return index >= begin_ && index < pages_.size(); }
  // Copies a layer of page `index`, which is here, with its first `positions` out of the cache:
  // saved_bytes(positions), part by part.
  void Save(size_t index, size_t layer, uint32_t positions, std::span<std::byte> out) const;
  // The reverse, for the first `count` of those positions.
  void Load(size_t index, size_t layer, uint32_t count, uint32_t positions,
            std::span<const std::byte> saved);

  // Of one layer and head; valid until the next change. Pages that were let go are null.
  kernels::KvHead Head(size_t layer, size_t head) const;
  // Held, of those up to the end.
  size_t pages() const { return pages_.size() - begin_; }

 private:
  using Page = std::shared_ptr<Buffer>;
  Result<Page> Take() const;
  void CopyTiles(const Buffer& from, uint32_t positions, Buffer& to) const;

  KvLayout layout_;
  void LetGo(uint32_t first);
  std::vector<Page> pages_;  // null below begin_
  size_t begin_ = 0;
  std::vector<std::byte*> table_;  // of pages_
};

}  // namespace exo::backend
