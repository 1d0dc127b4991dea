#include "backend/kv_pages.h"

#include <cstring>

namespace exo::backend {
namespace {

constexpr uint32_t kPage = kernels::kKvPage;

size_t PagesOf(uint32_t positions) {
  return (size_t{positions} + kPage - 1) / kPage;
}

}  // namespace

Result<KvPages::Page> KvPages::Take() const {
  return std::make_shared<Buffer>(TRY(Buffer::Allocate(layout_.page_bytes())));
}

// The tiles of the first `positions`: those behind them are not defined anyway.
void KvPages::CopyTiles(const Buffer& from, uint32_t positions, Buffer& to) const {
  const size_t tiles = (positions + kernels::kKvTile - 1) / kernels::kKvTile;
  for (size_t part = 0; part < layout_.parts(); ++part) {
    const size_t at = part * layout_.part_bytes();
    std::memcpy(to.data() + at, from.data() + at, tiles * layout_.tile_bytes());
  }
}

Result<void> KvPages::Reserve(uint32_t first, uint32_t end) {
  for (size_t i = first / kPage; i < PagesOf(end); ++i) {
    if (i < pages_.size() && pages_[i].use_count() == 1) continue;
    Page page = TRY(Take());
    if (i < pages_.size()) {
      const uint32_t begin = static_cast<uint32_t>(i) * kPage;
      if (first > begin) CopyTiles(*pages_[i], first - begin, *page);
      table_[i] = page->data();
      pages_[i] = std::move(page);
    } else {
      table_.push_back(page->data());
      pages_.push_back(std::move(page));
    }
  }
  return {};
}

void KvPages::Truncate(uint32_t length) {
  if (PagesOf(length) >= pages_.size()) return;
  pages_.resize(PagesOf(length));
  table_.resize(pages_.size());
}

KvPages KvPages::Share(uint32_t length) const {
  KvPages shared = *this;
  shared.Truncate(length);
  return shared;
}

kernels::KvHead KvPages::Head(size_t layer, size_t head) const {
  const size_t keys = 2 * (layer * layout_.heads + head) * layout_.part_bytes();
  return {.type = layout_.type,
          .head_dim = layout_.head_dim,
          .pages = table_.data(),
          .k = keys,
          .v = keys + layout_.part_bytes()};
}

}  // namespace exo::backend
