// Sequences of ended requests that still lie in KV memory, by their tokens: a request that begins
// like one of them goes on from there. Tokens are compared one by one, so nothing is ever taken for
// something else. Least recently used first out.
//
// Thread: pure; one caller at a time. Owner: LeadMachine.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "wire/messages.h"

namespace exo::engine {

// How many tokens two texts have in common at their beginning.
uint32_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b);

class PrefixIndex {
 public:
  // Every step of lead and stages goes through all sequences; the pages are what limits them in
  // practice.
  static constexpr size_t kMaxSequences = 64;

  struct Match {
    RequestId sequence;
    uint32_t length = 0;
    bool whole = false;  // all that the sequence holds
  };
  // Whether a sequence can be forked at a length.
  using Usable = std::function<bool(const RequestId& sequence, uint32_t length)>;
  // Between which requests sequences may be shared: those for which all of this is equal.
  struct Kind {
    std::vector<wire::AdapterUse> adapters;  // they decide the bits
    uint64_t scope = 0;                      // whose it is (wire::Submit::prefix_scope)
    friend bool operator==(const Kind&, const Kind&) = default;
  };
  static Kind KindOf(const wire::Submit& submit) { return {submit.adapters, submit.prefix_scope}; }
  // The usable sequence of this kind that shares most with `tokens`; marks it as used. Nothing:
  // none shares a token.
  std::optional<Match> Find(std::span<const TokenId> tokens, const Kind& kind,
                            const Usable& usable);

  // The tokens whose KV the sequence holds. Not empty; the id is not kept yet.
  void Keep(const RequestId& sequence, std::vector<TokenId> tokens, Kind kind);
  bool Forget(const RequestId& sequence);
  // The least recently used one that `may_go`.
  std::optional<RequestId> Oldest(const std::function<bool(const RequestId&)>& may_go) const;

  // Of a kept one, valid until it is forgotten; empty: it is not kept.
  std::span<const TokenId> TokensOf(const RequestId& sequence) const;
  std::vector<RequestId> All() const;
  size_t size() const { return entries_.size(); }
  void Clear() { entries_.clear(); }

 private:
  struct Entry {
    RequestId sequence;
    std::vector<TokenId> tokens;
    Kind kind;
  };
  std::list<Entry> entries_;  // most recently used first
};

}  // namespace exo::engine
