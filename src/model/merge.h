// The merge loop of byte-pair encoding, shared by SentencePiece and byte-level BPE: symbols in a
// linked list, candidates in a heap, so that a word of n symbols costs O(n log n) and never n
// squared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <queue>
#include <vector>

namespace exo::model {

// A part of the text; `value` is what the caller knows it by. size == 0: merged into its left
// neighbor.
struct Symbol {
  int32_t prev = -1;
  int32_t next = -1;
  uint32_t begin = 0;
  uint32_t size = 0;
  int32_t value = -1;
};

// A possible merge of two neighbors. The best priority wins, then the leftmost.
template <class Priority>
struct Candidate {
  Priority priority{};
  int32_t left = -1;
  int32_t right = -1;
  uint32_t size = 0;  // of both when it was found: stale when they have changed since
  int32_t value = -1;

  bool operator<(const Candidate& other) const {  // for a max-heap
    return priority != other.priority ? priority < other.priority : left > other.left;
  }
};

// Links symbols that stand in order, then merges until `find` has nothing more.
// find(left, right, candidate) -> bool: whether the two may merge, and with which priority and
// value.
template <class Priority, class Find>
void MergeSymbols(std::vector<Symbol>& symbols, const Find& find) {
  std::vector<Candidate<Priority>> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate<Priority>> heap({}, std::move(storage));
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(right)];
    Candidate<Priority> candidate{.left = left, .right = right, .size = a.size + b.size};
    if (find(a, b, candidate)) heap.push(candidate);
  };
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].prev = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 1; i < count; ++i) consider(i - 1, i);
  while (!heap.empty()) {
    const Candidate<Priority> best = heap.top();
    heap.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    Symbol& right = symbols[static_cast<size_t>(best.right)];
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
    left.size += right.size;
    left.value = best.value;
    right.size = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].prev = best.left;
    consider(left.prev, best.left);
    consider(best.left, left.next);
  }
}

}  // namespace exo::model
