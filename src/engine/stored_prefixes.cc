#include "engine/stored_prefixes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/sha256.h"
#include "engine/prefix_index.h"

namespace exo::engine {

Hash256 ScopeOf(const PrefixScope& scope) {
  Sha256 hash;
  hash.Update("exo prefix scope 1");
  hash.Update(std::as_bytes(std::span(scope.model.bytes)));
  hash.Update(std::as_bytes(std::span(scope.numerics.bytes)));
  hash.UpdateU64(scope.kv_type);
  return hash.Finish();
}

Hash256 StoredPrefixes::KeyOf(const Hash256& parent, std::span<const TokenId> tokens) const {
  Sha256 hash;
  hash.Update("exo prefix 1");
  hash.Update(std::as_bytes(std::span(scope_.bytes)));
  hash.Update(std::as_bytes(std::span(parent.bytes)));
  hash.UpdateU64(tokens.size());
  for (const TokenId token : tokens) {
    const auto value = static_cast<uint32_t>(token);
    std::array<std::byte, 4> bytes{};
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
    hash.Update(bytes);
  }
  return hash.Finish();
}

StoredPrefixes::Chain StoredPrefixes::Find(std::span<const TokenId> tokens,
                                           const Hash256& root) const {
  Chain chain;
  Hash256 parent = root;
  for (;;) {
    const auto rest = tokens.subspan(chain.length);
    Page best;
    const auto [begin, end] = children_.equal_range(parent);
    for (auto at = begin; at != end; ++at) {
      const uint32_t common = CommonPrefix(pages_.at(at->second).tokens, rest);
      if (common > best.count) best = {at->second, common};
    }
    if (best.count == 0) return chain;
    chain.pages.push_back(best);
    chain.length += best.count;
    if (best.count < page_) return chain;
    parent = best.key;
  }
}

void StoredPrefixes::Add(const Hash256& parent, std::vector<TokenId> tokens) {
  if (tokens.empty() || tokens.size() > page_ || pages_.size() >= kMaxPages) return;
  const Hash256 key = KeyOf(parent, tokens);
  if (pages_.emplace(key, Entry{parent, std::move(tokens)}).second) children_.emplace(parent, key);
}

void StoredPrefixes::Remove(const Hash256& key) {
  std::vector<Hash256> removed = {key};
  while (!removed.empty()) {
    const Hash256 next = removed.back();
    removed.pop_back();
    const auto [begin, end] = children_.equal_range(next);
    for (auto at = begin; at != end; ++at) removed.push_back(at->second);
    const auto found = pages_.find(next);
    if (found == pages_.end()) continue;
    const auto [first, last] = children_.equal_range(found->second.parent);
    const auto edge = std::find_if(first, last, [&](const auto& e) { return e.second == next; });
    if (edge != last) children_.erase(edge);
    pages_.erase(found);
  }
}

}  // namespace exo::engine
