#include "engine/page_ledger.h"

#include <algorithm>

#include "base/check.h"

namespace exo::engine {

uint32_t PageLedger::Take() {
  ++used_;
  if (free_.empty()) {
    holders_.push_back(1);
    return static_cast<uint32_t>(holders_.size() - 1);
  }
  const uint32_t page = free_.back();
  free_.pop_back();
  holders_[page] = 1;
  return page;
}

void PageLedger::Release(uint32_t page) {
  CHECK(holders_[page] > 0);
  if (--holders_[page] > 0) return;
  free_.push_back(page);
  --used_;
}

uint64_t PageLedger::Needs(const RequestId& request, uint32_t first, uint32_t end) const {
  const uint64_t all = PagesOf(end);
  const auto at = pages_.find(request);
  if (at == pages_.end()) return all;
  uint64_t needs = all > at->second.size() ? all - at->second.size() : 0;
  for (size_t i = first / positions_; i < std::min<size_t>(all, at->second.size()); ++i)
    needs += holders_[at->second[i]] > 1;
  return needs;
}

uint64_t PageLedger::windowed() const {
  uint64_t sum = 0;
  if (window_.positions == 0) return sum;
  for (const auto& [unused, pages] : pages_) sum += WindowedOf(pages.size());
  return sum;
}

bool PageLedger::Within(uint64_t pages, uint64_t all, uint64_t windowed) const {
  if (window_.positions == 0) return all <= pages;
  return std::ranges::all_of(window_.stages, [&](const LedgerWindow::Layers& layers) {
    return layers.all * all + layers.windowed * windowed <=
           layers.all * pages + layers.windowed * window_.pages;
  });
}

bool PageLedger::Fits(uint64_t pages, const RequestId& request, uint32_t first,
                      uint32_t end) const {
  const auto at = pages_.find(request);
  const size_t has = at == pages_.end() ? 0 : at->second.size();
  const uint64_t more = WindowedOf(std::max<uint64_t>(has, PagesOf(end))) - WindowedOf(has);
  return Within(pages, used_ + Needs(request, first, end), windowed() + more);
}

uint32_t PageLedger::BeginAt(uint32_t first) const {
  if (window_.positions == 0 || first + 1 <= window_.positions) return 0;
  return (first + 1 - window_.positions) / positions_ * positions_;
}

void PageLedger::Slide(const RequestId& request, uint32_t first) {
  const uint32_t begin = BeginAt(first);
  if (begin > 0) slid_[request] = std::max(slid_[request], begin);
}

bool PageLedger::Keeps(uint32_t length, uint32_t first) const {
  const uint32_t begin = BeginAt(first);
  return begin == 0 || uint64_t{begin} + window_.positions <= uint64_t{length} + 1;
}

void PageLedger::Skip(const RequestId& request, uint32_t end) {
  if (window_.positions != 0) slid_[request] = std::max(slid_[request], end);
}

bool PageLedger::HasWindows(const RequestId& request, uint32_t first) const {
  const auto at = slid_.find(request);
  return at == slid_.end() || at->second <= first;
}

bool PageLedger::Reaches(const RequestId& request, uint32_t length) const {
  const auto at = slid_.find(request);
  return at == slid_.end() || length == 0 ||
         uint64_t{at->second} + window_.positions <= uint64_t{length} + 1;
}

void PageLedger::Write(const RequestId& request, uint32_t first, uint32_t end) {
  std::vector<uint32_t>& pages = pages_[request];
  CHECK(first <= pages.size() * positions_);
  if (first == 0) slid_.erase(request);
  Slide(request, first);
  for (size_t i = first / positions_; i < PagesOf(end); ++i) {
    if (i == pages.size()) {
      pages.push_back(Take());
    } else if (holders_[pages[i]] > 1) {
      Release(pages[i]);
      pages[i] = Take();
    }
  }
}

void PageLedger::Share(const RequestId& from, uint32_t length, const RequestId& to) {
  CHECK(!pages_.contains(to));
  std::vector<uint32_t> shared;
  if (const auto at = pages_.find(from); at != pages_.end()) shared = at->second;
  CHECK(PagesOf(length) <= shared.size());
  shared.resize(PagesOf(length));
  for (const uint32_t page : shared) ++holders_[page];
  if (const auto slid = slid_.find(from); slid != slid_.end() && length > 0)
    slid_[to] = slid->second;
  pages_.emplace(to, std::move(shared));
}

void PageLedger::Truncate(const RequestId& request, uint32_t length) {
  const auto at = pages_.find(request);
  if (at == pages_.end()) return;
  if (length == 0) slid_.erase(request);
  for (; at->second.size() > PagesOf(length); at->second.pop_back()) Release(at->second.back());
}

void PageLedger::Close(const RequestId& request) {
  Truncate(request, 0);
  pages_.erase(request);
  slid_.erase(request);
}

}  // namespace exo::engine
