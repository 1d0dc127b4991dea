#include "backend/kv_pages.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

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

bool KvPages::Reaches(uint32_t length) const {
  return begin_ == 0 || length == 0 ||
         begin_ * uint64_t{kPage} + layout_.window <= uint64_t{length} + 1;
}

void KvPages::LetGo(uint32_t first) {
  if (layout_.window == 0) return;
  for (; begin_ < pages_.size() &&
         (begin_ + 1) * uint64_t{kPage} + layout_.window <= uint64_t{first} + 1;
       ++begin_) {
    pages_[begin_].reset();
    table_[begin_] = nullptr;
  }
}

Result<void> KvPages::Reserve(uint32_t first, uint32_t end) {
  if (layout_.layers == 0) return {};
  if (first == 0 && begin_ > 0) Truncate(0);
  CHECK(first / kPage >= begin_);
  LetGo(first);
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

void KvPages::Skip(uint32_t end) {
  if (layout_.layers == 0) return;
  CHECK(layout_.window != 0 && end % kPage == 0);
  begin_ = PagesOf(end);
  pages_.assign(begin_, nullptr);
  table_.assign(begin_, nullptr);
}

void KvPages::Truncate(uint32_t length) {
  if (PagesOf(length) >= pages_.size()) return;
  pages_.resize(PagesOf(length));
  table_.resize(pages_.size());
  begin_ = std::min(begin_, pages_.size());
}

void KvPages::Save(size_t index, size_t layer, uint32_t positions, std::span<std::byte> out) const {
  CHECK(Has(index));
  CHECK_EQ(out.size(), layout_.saved_bytes(positions));
  const size_t parts = 2 * layout_.heads, bytes = out.size() / parts;
  for (size_t part = 0; part < parts; ++part) {
    std::memcpy(out.data() + part * bytes,
                pages_[index]->data() + (layer * parts + part) * layout_.part_bytes(), bytes);
  }
}

void KvPages::Load(size_t index, size_t layer, uint32_t count, uint32_t positions,
                   std::span<const std::byte> saved) {
  CHECK(Has(index));
  CHECK_EQ(saved.size(), layout_.saved_bytes(positions));
  const size_t parts = 2 * layout_.heads, bytes = saved.size() / parts;
  const size_t wanted = layout_.saved_bytes(count) / parts;
  for (size_t part = 0; part < parts; ++part) {
    std::memcpy(pages_[index]->data() + (layer * parts + part) * layout_.part_bytes(),
                saved.data() + part * bytes, wanted);
  }
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
