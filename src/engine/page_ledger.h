// Which pages of KV memory the sequences of an instance hold. Lead and stages keep the same ledger
// from the same steps, so that the lead knows what every stage has room for; the memory itself is
// the backend's (backend/kv_pages.h), which shares and copies by the same rules: a fork shares all
// pages of its origin, and who writes to a shared page gets a copy.
//
// Thread: pure; one caller at a time.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/ids.h"

namespace exo::engine {

class PageLedger {
 public:
  // `positions` of one page.
  explicit PageLedger(uint32_t positions) : positions_(positions) {}

  // Pages that writing positions [first, end) would take: those that the sequence lacks, and copies
  // of those that it shares.
  uint64_t Needs(const RequestId& request, uint32_t first, uint32_t end) const;
  // Takes them. `first` is within or right behind what the sequence holds.
  void Write(const RequestId& request, uint32_t first, uint32_t end);
  // `to` holds nothing before.
  void Share(const RequestId& from, uint32_t length, const RequestId& to);
  void Truncate(const RequestId& request, uint32_t length);
  void Close(const RequestId& request);

  uint64_t used() const { return used_; }
  uint64_t PagesOf(uint64_t positions) const { return (positions + positions_ - 1) / positions_; }

 private:
  uint32_t Take();
  void Release(uint32_t page);

  uint32_t positions_;
  std::map<RequestId, std::vector<uint32_t>> pages_;
  std::vector<uint32_t> holders_;  // of each page, by its number
  std::vector<uint32_t> free_;     // numbers without holders
  uint64_t used_ = 0;
};

}  // namespace exo::engine
