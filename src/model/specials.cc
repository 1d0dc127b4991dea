#include "model/specials.h"

#include <algorithm>
#include <set>

namespace exo::model {

SpecialFinder::SpecialFinder(const Vocabulary& vocabulary) : nodes_(1) {
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const TokenType type = vocabulary.types[i];
    const bool control = type == TokenType::kControl || type == TokenType::kUnknown;
    if (!control && type != TokenType::kUserDefined) continue;
    if (!vocabulary.texts[i].empty()) Insert(vocabulary.texts[i], static_cast<TokenId>(i), control);
  }
}

void SpecialFinder::Insert(std::string_view text, TokenId token, bool control) {
  first_bytes_[static_cast<uint8_t>(text[0])] = true;
  uint64_t node = 0;
  for (const char c : text) {
    const auto [place, fresh] = children_.try_emplace(node << 8 | static_cast<uint8_t>(c),
                                                      static_cast<uint32_t>(nodes_.size()));
    if (fresh) nodes_.emplace_back();
    node = place->second;
  }
  nodes_[node] = {token, control};
}

std::vector<SpecialFinder::Match> SpecialFinder::FindAll(
    std::string_view text, std::span<const size_t> trusted_until) const {
  std::vector<Match> matches;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (!first_bytes_[static_cast<uint8_t>(text[begin])]) continue;
    uint64_t node = 0;
    for (size_t end = begin; end < text.size(); ++end) {
      const auto child = children_.find(node << 8 | static_cast<uint8_t>(text[end]));
      if (child == children_.end()) break;
      node = child->second;
      const Node& found = nodes_[node];
      if (found.token < 0 || (found.control && trusted_until[begin] <= end)) continue;
      matches.push_back({begin, end + 1 - begin, found.token});
    }
  }
  return matches;
}

std::vector<Fragment> SpecialFinder::Split(std::string_view text,
                                           std::span<const size_t> trusted_until) const {
  std::vector<Match> matches = FindAll(text, trusted_until);
  std::ranges::sort(matches, [](const Match& a, const Match& b) {
    return a.length != b.length ? a.length > b.length : a.begin < b.begin;
  });
  const auto earlier = [](const Match& a, const Match& b) { return a.begin < b.begin; };
  std::set<Match, decltype(earlier)> chosen(earlier);
  for (const Match& match : matches) {
    const auto next = chosen.lower_bound(match);
    if (next != chosen.end() && next->begin < match.begin + match.length) continue;
    if (next != chosen.begin() && std::prev(next)->begin + std::prev(next)->length > match.begin)
      continue;
    chosen.insert(match);
  }
  std::vector<Fragment> fragments;
  size_t at = 0;
  for (const Match& match : chosen) {
    if (match.begin > at) fragments.push_back({at, match.begin, -1});
    fragments.push_back({match.begin, match.begin + match.length, match.token});
    at = match.begin + match.length;
  }
  if (at < text.size()) fragments.push_back({at, text.size(), -1});
  return fragments;
}

}  // namespace exo::model
