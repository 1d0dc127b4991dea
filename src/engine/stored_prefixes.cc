#include "engine/stored_prefixes.h"

#include <algorithm>
#include <array>
#include <optional>
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
  // Without a loss the name is what it was before there were codecs.
  if (scope.loss.codec != wire::Codec::kF32) {
    hash.Update("loss").UpdateU64(static_cast<uint64_t>(scope.loss.codec));
    hash.UpdateU64(scope.loss.cuts.size());
    for (const uint32_t cut : scope.loss.cuts) hash.UpdateU64(cut);
  }
  return hash.Finish();
}

Hash256 StoredKeyOf(const Hash256& page, bool bare) {
  if (!bare) return page;
  return Sha256().Update("exo bare page 1").Update(std::as_bytes(std::span(page.bytes))).Finish();
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

// Each page on the way may be the last one, if it is whole and windows reach back from there.
StoredPrefixes::Chain StoredPrefixes::Find(std::span<const TokenId> tokens,
                                           const Hash256& root) const {
  Chain best;
  std::vector<Hash256> way;  // pages that match to their ends
  size_t windows = 0;        // of them, those from here on are whole
  std::optional<Hash256> next = root;
  while (next) {
    const Hash256 parent = *std::exchange(next, std::nullopt);
    const size_t first = way.size() * page_;
    Page last;
    const auto [begin, end] = children_.equal_range(parent);
    for (auto at = begin; at != end; ++at) {
      const Entry& entry = pages_.at(at->second);
      const uint32_t common = CommonPrefix(entry.tokens, tokens.subspan(first));
      if (common == page_) next = at->second;
      if (entry.whole && common > last.count) last = {.key = at->second, .count = common};
    }
    if (last.count > 0 && Reaches(windows, first + last.count)) best = ChainOf(way, last);
    if (!next) break;
    way.push_back(*next);
    if (!pages_.at(*next).whole) windows = way.size();
  }
  return best;
}

// What no window reaches back to is restored without them where that is there: it is less.
StoredPrefixes::Chain StoredPrefixes::ChainOf(std::span<const Hash256> way,
                                              const Page& last) const {
  Chain chain{.length = static_cast<uint32_t>(way.size()) * page_ + last.count};
  for (const Hash256& key : way) {
    const bool bare = pages_.at(key).bare && Reaches(chain.pages.size() + 1, chain.length);
    chain.pages.push_back({.key = key, .count = page_, .bare = bare});
  }
  chain.pages.push_back(last);
  return chain;
}

bool StoredPrefixes::Has(const Hash256& key, bool bare) const {
  const auto at = pages_.find(key);
  return at != pages_.end() && (at->second.whole || bare);
}

void StoredPrefixes::Add(const Hash256& stored, const Hash256& parent,
                         std::vector<TokenId> tokens) {
  if (tokens.empty() || tokens.size() > page_) return;
  const Hash256 key = KeyOf(parent, tokens);
  const bool bare = stored != key;
  if (stored != StoredKeyOf(key, bare)) return;
  auto at = pages_.find(key);
  if (at == pages_.end()) {
    if (pages_.size() >= kMaxPages) return;
    at = pages_.emplace(key, Entry{.parent = parent, .tokens = std::move(tokens)}).first;
    children_.emplace(parent, key);
  }
  (bare ? at->second.bare : at->second.whole) = true;
}

void StoredPrefixes::Remove(const Hash256& key, bool bare) {
  const auto at = pages_.find(key);
  if (at == pages_.end()) return;
  (bare ? at->second.bare : at->second.whole) = false;
  if (!at->second.bare && !at->second.whole) RemoveTree(key);
}

void StoredPrefixes::RemoveTree(const Hash256& key) {
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
