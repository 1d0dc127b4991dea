// A fake language model for the simulator, and its oracle. A token depends on every token before
// it, on the seed, and on every KV entry of every layer: one that is missing, doubled, stale or of
// another request changes the answer. Arithmetic is a mixing function; "memory" that is taken again
// is not cleared.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "cluster/core.h"
#include "engine/stage.h"

namespace exo::sim {

using namespace cluster;
using namespace engine;

inline constexpr uint32_t kLayers = 6;
inline constexpr TokenId kStopToken = 0;

constexpr uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15u ^ (b + 0x632BE59BD9B4E019u);
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ x >> 29;
}
constexpr uint64_t Embed(TokenId token) {
  return Mix(static_cast<uint64_t>(token), 1);
}
constexpr TokenId Sample(uint64_t hidden, uint64_t seed, uint64_t position) {
  const uint64_t x = Mix(Mix(hidden, seed), position);
  return x % 24 == 0 ? kStopToken : static_cast<TokenId>(1 + x % 9973);
}

// KV of one sequence in the layers of one stage: entries [layer][position].
struct Kv {
  std::vector<std::vector<uint64_t>> layers;
};

// A node's prefix store: entries of a page by its key and layer, and the texts that the lead keeps.
struct PageDisk {
  std::map<std::pair<Hash256, uint32_t>, std::vector<uint64_t>> pages;
  struct Text {
    Hash256 scope;
    Hash256 parent;
    std::vector<TokenId> tokens;
  };
  std::map<Hash256, Text> texts;  // by key
};

// One stage's layers and caches.
class FakeStage {
 public:
  FakeStage(uint32_t begin, uint32_t end) : begin_(begin), end_(end) {}

  void Close(uint64_t sequence) {
    const auto at = open_.find(sequence);
    if (at == open_.end()) return;
    free_.push_back(std::move(at->second));
    open_.erase(at);
  }
  void Open(uint64_t sequence) {
    Kv kv;
    if (!free_.empty()) {
      kv = std::move(free_.back());
      free_.pop_back();
    }
    kv.layers.resize(end_ - begin_);
    for (auto& layer : kv.layers) layer.resize(kPositions, kUnwritten);
    open_[sequence] = std::move(kv);
  }
  void Fork(uint64_t from, uint64_t to, uint32_t length) {
    Open(to);
    for (size_t layer = 0; layer < open_[to].layers.size(); ++layer)
      std::copy_n(open_[from].layers[layer].begin(), length, open_[to].layers[layer].begin());
  }
  void Save(const StageWork::Page& page, const Hash256& key, PageDisk& disk) const {
    for (uint32_t layer = begin_; layer < end_; ++layer) {
      const auto first = open_.at(page.sequence).layers[layer - begin_].begin() + page.first;
      disk.pages[{key, layer}].assign(first, first + page.count);
    }
  }
  // False: a layer of it is not there, and nothing changed.
  bool Load(const StageWork::Page& page, const Hash256& key, const PageDisk& disk) {
    for (uint32_t layer = begin_; layer < end_; ++layer) {
      const auto at = disk.pages.find({key, layer});
      if (at == disk.pages.end() || at->second.size() < page.count) return false;
    }
    for (uint32_t layer = begin_; layer < end_; ++layer) {
      auto& entries = open_.at(page.sequence).layers[layer - begin_];
      entries.resize(std::max<size_t>(entries.size(), page.first + page.count), kUnwritten);
      std::copy_n(disk.pages.at({key, layer}).begin(), page.count, entries.begin() + page.first);
    }
    return true;
  }
  std::vector<uint32_t> layers() const {
    std::vector<uint32_t> layers;
    for (uint32_t layer = begin_; layer < end_; ++layer) layers.push_back(layer);
    return layers;
  }
  std::vector<uint64_t> Entries(const StageWork::Page& page, uint32_t layer) const {
    const auto first = open_.at(page.sequence).layers[layer - begin_].begin() + page.first;
    return {first, first + page.count};
  }
  void Put(const StageWork::Page& page, uint32_t layer, std::span<const uint64_t> entries) {
    auto& to = open_.at(page.sequence).layers[layer - begin_];
    to.resize(std::max<size_t>(to.size(), page.first + page.count), kUnwritten);
    std::copy_n(entries.begin(), page.count, to.begin() + page.first);
  }
  // Runs the rows of one segment in place.
  void Forward(const StageWork::Segment& segment, std::span<uint64_t> hidden) {
    Kv& kv = open_[segment.sequence];
    for (uint32_t layer = begin_; layer < end_; ++layer) {
      std::vector<uint64_t>& entries = kv.layers[layer - begin_];
      for (uint32_t i = 0; i < segment.count; ++i) {
        const uint32_t position = segment.first + i;
        if (position >= entries.size()) entries.resize(position + 1, kUnwritten);
        entries[position] = Mix(hidden[i], layer);
        uint64_t attention = 0;
        for (uint32_t p = 0; p <= position; ++p) {
          read_undefined_ |= entries[p] == kUndefined;
          attention += Mix(entries[p], p);
        }
        hidden[i] = Mix(hidden[i], attention);
      }
    }
  }
  // A compute that was cancelled in the middle: the segment's KV may be anything.
  void Interrupt(const StageWork::Segment& segment) {
    for (auto& entries : open_[segment.sequence].layers) {
      for (uint32_t i = 0; i < segment.count; ++i) entries[segment.first + i] = kUndefined;
    }
  }
  // Rows were computed on top of what Interrupt left behind.
  bool read_undefined() const { return read_undefined_; }

 private:
  static constexpr size_t kPositions = 64;  // at first
  static constexpr uint64_t kUnwritten = 0xDEAD;
  static constexpr uint64_t kUndefined = 0xBAD;

  bool read_undefined_ = false;
  uint32_t begin_;
  uint32_t end_;
  std::map<uint64_t, Kv> open_;
  std::vector<Kv> free_;
};

// The answer of one undisturbed device, without the stop token.
inline std::vector<TokenId> Oracle(std::vector<TokenId> tokens, uint64_t seed, uint32_t most) {
  FakeStage stage(0, kLayers);
  stage.Open(1);
  std::vector<TokenId> answer;
  uint32_t computed = 0;
  while (answer.size() < most) {
    std::vector<uint64_t> hidden;
    for (size_t i = computed; i < tokens.size(); ++i) hidden.push_back(Embed(tokens[i]));
    stage.Forward({1, computed, static_cast<uint32_t>(hidden.size())}, hidden);
    computed = static_cast<uint32_t>(tokens.size());
    const TokenId token = Sample(hidden.back(), seed, tokens.size());
    if (token == kStopToken) break;
    tokens.push_back(token);
    answer.push_back(token);
  }
  return answer;
}

}  // namespace exo::sim
