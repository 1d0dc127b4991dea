#include "grammar/token_trie.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "base/check.h"

namespace exo::grammar {
namespace {

// How far into a character some bytes are: what the next byte must be.
struct Utf8Place {
  uint8_t left = 0;  // bytes that the character still takes
  uint8_t low = 0x80, high = 0xBF;
};
// Nullopt: not UTF-8.
std::optional<Utf8Place> Next(const Utf8Place& at, uint8_t byte) {
  if (at.left > 0) {
    if (byte < at.low || byte > at.high) return std::nullopt;
    return Utf8Place{.left = static_cast<uint8_t>(at.left - 1)};
  }
  if (byte < 0x80) return Utf8Place{};
  if (byte < 0xC2 || byte > 0xF4) return std::nullopt;
  if (byte < 0xE0) return Utf8Place{.left = 1};
  if (byte < 0xF0)
    return Utf8Place{.left = 2,
                     .low = static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
                     .high = static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  return Utf8Place{.left = 3,
                   .low = static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
                   .high = static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
}

}  // namespace

TokenTrie::TokenTrie(VocabularyTokens tokens) : tokens_(std::move(tokens)) {
  CHECK_EQ(tokens_.bytes.size(), tokens_.special.size());
  std::vector<TokenId> sorted;
  for (size_t i = 0; i < tokens_.bytes.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (tokens_.special[i]) {
      specials_.push_back(id);
    } else if (!tokens_.bytes[i].empty() && tokens_.bytes[i].size() < UINT16_MAX) {
      sorted.push_back(id);
      longest_ = std::max(longest_, tokens_.bytes[i].size());
    }
  }
  std::ranges::sort(sorted, [&](TokenId a, TokenId b) {
    const int order = bytes(a).compare(bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  Build(sorted);
  FindContents();
  order_ = std::move(sorted);
  for (const TokenId token : order_) {
    chars_.push_back(static_cast<uint16_t>(
        std::ranges::count_if(bytes(token), [](char c) { return (c & 0xC0) != 0x80; })));
  }
}

void TokenTrie::Build(std::span<const TokenId> sorted) {
  std::vector<uint32_t> path;                                    // nodes from the root
  std::vector<std::optional<Utf8Place>> places = {Utf8Place{}};  // behind them
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back(), places.pop_back())
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view last;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const std::string_view text = bytes(sorted[i]);
    const auto differ = std::ranges::mismatch(last, text).in2;
    close(static_cast<size_t>(differ - text.begin()));
    for (size_t depth = path.size(); depth < text.size(); ++depth) {
      const auto byte = static_cast<uint8_t>(text[depth]);
      places.push_back(places.back() ? Next(*places.back(), byte) : std::nullopt);
      const uint16_t before = depth == 0 ? 0 : nodes_[path[depth - 1]].before;
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.first = static_cast<uint32_t>(i),
                        .depth = static_cast<uint16_t>(depth + 1),
                        .before = static_cast<uint16_t>(before + ((byte & 0xC0) != 0x80 ? 1 : 0)),
                        .byte = byte,
                        .boundary = places.back() && places.back()->left == 0,
                        .utf8_below = places.back().has_value(),
                        .separates = text.substr(0, depth + 1).ends_with("\xE2\x80\xA8") ||
                                     text.substr(0, depth + 1).ends_with("\xE2\x80\xA9")});
    }
    ++nodes_[path.back()].own;
    last = text;
  }
  close(0);
}

// From the last node to the first, so that what is below is known.
void TokenTrie::FindContents() {
  std::map<Contents, uint32_t> known;
  std::vector<bool> good(nodes_.size());  // the node and all below are UTF-8
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    good[i] = node.utf8_below;
    node.utf8_below = true;
    Contents all;
    for (size_t child = i + 1; child < node.end; child = nodes_[child].end) {
      const Node& one = nodes_[child];
      const Contents& under = contents_[one.below];
      all.low |= under.low | (one.byte < 64 ? uint64_t{1} << one.byte : 0);
      all.high |=
          under.high | (one.byte >= 64 && one.byte < 128 ? uint64_t{1} << (one.byte - 64) : 0);
      all.wide = all.wide || under.wide || one.byte >= 128;
      all.separators = all.separators || under.separators || one.separates;
      const bool begins = (one.byte & 0xC0) != 0x80;
      node.chars = std::max<uint16_t>(node.chars, one.chars + (begins ? 1 : 0));
      node.utf8_below = node.utf8_below && good[child];
    }
    good[i] = good[i] && node.utf8_below;
    const auto [at, is_new] = known.try_emplace(all, static_cast<uint32_t>(contents_.size()));
    if (is_new) contents_.push_back(all);
    node.below = at->second;
  }
}

}  // namespace exo::grammar
