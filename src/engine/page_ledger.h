// Which pages of KV memory the sequences of an instance hold. Lead and stages keep the same ledger
// from the same steps, so that the lead knows what every stage has room for; the memory itself is
// the backend's (backend/kv_pages.h), which shares and copies by the same rules: a fork shares all
// pages of its origin, and who writes to a shared page gets a copy.
//
// Layers with a window let go of pages (KvPages::Reserve): a sequence can be cut or forked only
// where its windows are still there, which the ledger knows, and takes a bounded number of their
// pages, which is counted sequence by sequence as if nothing were shared.
//
// Thread: pure; one caller at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace exo::engine {

// The layers with a window of a plan. A stage holds, in units of one layer's page, what the plan's
// pages of each layer without a window and `pages` of each with one take.
struct LedgerWindow {
  uint32_t positions = 0;  // that a row attends to; 0: no layer has a window
  uint64_t most = 0;       // pages of one sequence at most (wire::WindowPages)
  uint64_t pages = 0;      // reserved (wire::WindowedPages)
  struct Layers {
    uint64_t all = 0;  // that attend to all positions
    uint64_t windowed = 0;
  };
  std::vector<Layers> stages = {};
};

class PageLedger {
 public:
  // `positions` of one page.
  explicit PageLedger(uint32_t positions, LedgerWindow window = {})
      : positions_(positions), window_(std::move(window)) {}

  // Another plan of the same model goes on with the sequences.
  void Rebind(LedgerWindow window) { window_ = std::move(window); }

  // Pages that writing positions [first, end) would take: those that the sequence lacks, and copies
  // of those that it shares.
  uint64_t Needs(const RequestId& request, uint32_t first, uint32_t end) const;
  // Whether what is held is within a reservation of `pages`, and stays so when that is taken.
  bool Within(uint64_t pages) const { return Within(pages, used_, windowed()); }
  bool Fits(uint64_t pages, const RequestId& request, uint32_t first, uint32_t end) const;
  // Takes them. `first` is within or right behind what the sequence holds.
  void Write(const RequestId& request, uint32_t first, uint32_t end);
  // Rows at `first` are computed next: what lies before their window is let go.
  void Slide(const RequestId& request, uint32_t first);
  // The layers with a window have nothing below `end`, a multiple of a page: what was restored up
  // to there is of the others.
  void Skip(const RequestId& request, uint32_t end);
  // Whether the page that begins at `first` is still that of all layers.
  bool HasWindows(const RequestId& request, uint32_t first) const;
  // Whether a sequence can still be cut to `length` when rows at `first` have been computed.
  bool Keeps(uint32_t length, uint32_t first) const;
  // Whether the sequence has all that a row at `length` attends to.
  bool Reaches(const RequestId& request, uint32_t length) const;
  // `to` holds nothing before.
  void Share(const RequestId& from, uint32_t length, const RequestId& to);
  void Truncate(const RequestId& request, uint32_t length);
  void Close(const RequestId& request);

  uint64_t used() const { return used_; }
  uint64_t windowed() const;  // pages of each layer with a window, at most
  uint64_t PagesOf(uint64_t positions) const { return (positions + positions_ - 1) / positions_; }

 private:
  // The first position that layers with a window keep when rows at `first` are computed.
  uint32_t BeginAt(uint32_t first) const;
  uint32_t Take();
  void Release(uint32_t page);

  bool Within(uint64_t pages, uint64_t all, uint64_t windowed) const;
  uint64_t WindowedOf(size_t pages) const { return std::min<uint64_t>(pages, window_.most); }

  uint32_t positions_;
  LedgerWindow window_;
  std::map<RequestId, uint32_t> slid_;  // the first position that is still there, if not 0
  std::map<RequestId, std::vector<uint32_t>> pages_;
  std::vector<uint32_t> holders_;  // of each page, by its number
  std::vector<uint32_t> free_;     // numbers without holders
  uint64_t used_ = 0;
};

}  // namespace exo::engine
