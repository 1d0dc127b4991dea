// Which pages of KV lie in the stages' prefix stores, as the lead knows it: a tree of pages by the
// tokens they hold. A page's key names its whole history (model, arithmetic, every token up to its
// end), so that stages only look it up; the tokens are compared one by one all the same, so nothing
// is ever taken for something else.
//
// Where a model has layers with a window, a page is there whole, bare (without those layers) or
// both: a request can go on where the pages that a window reaches back to are whole, and what comes
// before them may be either.
//
// Thread: pure; one caller at a time. Owner: LeadMachine.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "wire/plan.h"

namespace exo::engine {

// What decides the bits of KV besides the tokens.
struct PrefixScope {
  ModelId model;
  NumericsId numerics;
  uint8_t kv_type = 0;
  wire::WireLoss loss = {};
};
Hash256 ScopeOf(const PrefixScope& scope);

// What the stages call a page, given its key. A bare page is another file than a whole one.
Hash256 StoredKeyOf(const Hash256& page, bool bare);

class StoredPrefixes {
 public:
  // Pages known at most: 32 MiB of tokens at the lead. Those of a fuller store are not found.
  static constexpr size_t kMaxPages = 1u << 15;

  // `page`: positions of a whole one. `window`: that layers with a window attend to; 0: none has.
  StoredPrefixes(const Hash256& scope, uint32_t page, uint32_t window = 0)
      : scope_(scope), page_(page), window_(window) {}

  // The name of a page of 1 to `page` tokens. `parent`: the key of the page before it, which is a
  // whole one. In front of the first page stands zero, or what else decides the bits of one request
  // (its adapters).
  Hash256 KeyOf(const Hash256& parent, std::span<const TokenId> tokens) const;

  struct Page {
    Hash256 key;
    uint32_t count = 0;  // tokens of it that match
    bool bare = false;   // as which it is to be restored
    bool moved = false;  // it is the former plan's, and has no key
  };
  struct Chain {
    std::vector<Page> pages;  // all but the last one to their ends
    uint32_t length = 0;
  };
  // The longest beginning of `tokens` that is stored and can be gone on with; of the last page a
  // part may match.
  Chain Find(std::span<const TokenId> tokens, const Hash256& root = {}) const;

  // As a bare one a whole one serves as well.
  bool Has(const Hash256& key, bool bare) const;
  // `stored`: StoredKeyOf the page. Ignored: another key than that of these tokens, no or too many
  // tokens, more than kMaxPages pages. The parent may come later.
  void Add(const Hash256& stored, const Hash256& parent, std::vector<TokenId> tokens);
  // With the last form of a page all pages behind it go, which nobody can reach any more.
  void Remove(const Hash256& key, bool bare);
  size_t size() const { return pages_.size(); }

 private:
  struct Entry {
    Hash256 parent;
    std::vector<TokenId> tokens;
    bool whole = false;
    bool bare = false;
  };
  // Whether rows at `length` have what they attend to when windows are there from page `begin` on.
  bool Reaches(size_t begin, uint64_t length) const {
    return begin == 0 || begin * uint64_t{page_} + window_ <= length + 1;
  }
  Chain ChainOf(std::span<const Hash256> way, const Page& last) const;
  void RemoveTree(const Hash256& key);

  const Hash256 scope_;
  const uint32_t page_;
  const uint32_t window_;
  std::map<Hash256, Entry> pages_;
  std::multimap<Hash256, Hash256> children_;  // of a parent
};

}  // namespace exo::engine
