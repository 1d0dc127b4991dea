#include "engine/prefix_index.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "base/check.h"

namespace exo::engine {

uint32_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<uint32_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

std::optional<PrefixIndex::Match> PrefixIndex::Find(std::span<const TokenId> tokens,
                                                    const Kind& kind, const Usable& usable) {
  auto best = entries_.end();
  uint32_t length = 0;
  for (auto at = entries_.begin(); at != entries_.end(); ++at) {
    if (at->kind != kind) continue;
    const uint32_t common = CommonPrefix(at->tokens, tokens);
    if (common > length && usable(at->sequence, common)) {
      best = at;
      length = common;
    }
  }
  if (best == entries_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, best);
  return Match{best->sequence, length, length == best->tokens.size()};
}

void PrefixIndex::Keep(const RequestId& sequence, std::vector<TokenId> tokens, Kind kind) {
  CHECK(!tokens.empty());
  entries_.push_front({sequence, std::move(tokens), std::move(kind)});
}

bool PrefixIndex::Forget(const RequestId& sequence) {
  return std::erase_if(entries_, [&](const Entry& e) { return e.sequence == sequence; }) > 0;
}

std::span<const TokenId> PrefixIndex::TokensOf(const RequestId& sequence) const {
  const auto at = std::ranges::find(entries_, sequence, &Entry::sequence);
  if (at == entries_.end()) return {};
  return at->tokens;
}

std::vector<RequestId> PrefixIndex::All() const {
  std::vector<RequestId> all;
  for (const Entry& entry : entries_) all.push_back(entry.sequence);
  return all;
}

std::optional<RequestId> PrefixIndex::Oldest(
    const std::function<bool(const RequestId&)>& may_go) const {
  for (const Entry& entry : entries_ | std::views::reverse) {
    if (may_go(entry.sequence)) return entry.sequence;
  }
  return std::nullopt;
}

}  // namespace exo::engine
