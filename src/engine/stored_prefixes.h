// Which pages of KV lie in the stages' prefix stores, as the lead knows it: a tree of pages by the
// tokens they hold. A page's key names its whole history (model, arithmetic, every token up to its
// end), so that stages only look it up; the tokens are compared one by one all the same, so nothing
// is ever taken for something else.
//
// Thread: pure; one caller at a time. Owner: LeadMachine.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace exo::engine {

// What decides the bits of KV besides the tokens. A codec that loses bits between stages, when
// there is one, belongs here as well.
struct PrefixScope {
  ModelId model;
  NumericsId numerics;
  uint8_t kv_type = 0;
};
Hash256 ScopeOf(const PrefixScope& scope);

class StoredPrefixes {
 public:
  // Pages known at most: 32 MiB of tokens at the lead. Those of a fuller store are not found.
  static constexpr size_t kMaxPages = 1u << 15;

  // `page`: positions of a whole one.
  StoredPrefixes(const Hash256& scope, uint32_t page) : scope_(scope), page_(page) {}

  // The name of a page of 1 to `page` tokens. `parent`: the key of the page before it, which is a
  // whole one. In front of the first page stands zero, or what else decides the bits of one request
  // (its adapters).
  Hash256 KeyOf(const Hash256& parent, std::span<const TokenId> tokens) const;

  struct Page {
    Hash256 key;
    uint32_t count = 0;  // tokens of it that match
  };
  struct Chain {
    std::vector<Page> pages;  // all but the last one whole
    uint32_t length = 0;
  };
  // The longest beginning of `tokens` that is stored; of the last page a part may match.
  Chain Find(std::span<const TokenId> tokens, const Hash256& root = {}) const;

  bool Has(const Hash256& key) const { return pages_.contains(key); }
  // Ignored: no or too many tokens, more than kMaxPages pages. The parent may come later.
  void Add(const Hash256& parent, std::vector<TokenId> tokens);
  // With all pages behind it, which nobody can reach any more.
  void Remove(const Hash256& key);
  size_t size() const { return pages_.size(); }

 private:
  struct Entry {
    Hash256 parent;
    std::vector<TokenId> tokens;
  };
  const Hash256 scope_;
  const uint32_t page_;
  std::map<Hash256, Entry> pages_;
  std::multimap<Hash256, Hash256> children_;  // of a parent
};

}  // namespace exo::engine
