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

void PageLedger::Write(const RequestId& request, uint32_t first, uint32_t end) {
  std::vector<uint32_t>& pages = pages_[request];
  CHECK(first <= pages.size() * positions_);
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
  pages_.emplace(to, std::move(shared));
}

void PageLedger::Truncate(const RequestId& request, uint32_t length) {
  const auto at = pages_.find(request);
  if (at == pages_.end()) return;
  for (; at->second.size() > PagesOf(length); at->second.pop_back()) Release(at->second.back());
}

void PageLedger::Close(const RequestId& request) {
  Truncate(request, 0);
  pages_.erase(request);
}

}  // namespace exo::engine
