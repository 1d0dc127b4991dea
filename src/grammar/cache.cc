#include "grammar/cache.h"

#include <algorithm>
#include <functional>
#include <string>

#include "grammar/grammar.h"

namespace exo::grammar {
namespace {

size_t HashOf(const wire::Grammar& grammar) {
  size_t hash = grammar.parts.size();
  for (const wire::GrammarPart& part : grammar.parts)
    hash = hash * 0x9E3779B97F4A7C15u ^ std::hash<std::string>()(part.text);
  return hash;
}

uint64_t BytesOf(const wire::Grammar& grammar) {
  uint64_t bytes = 0;
  for (const wire::GrammarPart& part : grammar.parts)
    bytes += sizeof(part) + part.text.size() + part.begin.size() + part.end.size();
  return bytes;
}

}  // namespace

Cache::Order::iterator Cache::Find(size_t hash, const wire::Grammar& grammar) {
  const auto [begin, end] = by_hash_.equal_range(hash);
  const auto known =
      std::find_if(begin, end, [&](const auto& one) { return one.second->grammar == grammar; });
  return known == end ? kept_.end() : known->second;
}

void Cache::DropOldest() {
  const auto oldest = std::prev(kept_.end());
  const auto [begin, end] = by_hash_.equal_range(HashOf(oldest->grammar));
  by_hash_.erase(std::find_if(begin, end, [&](const auto& one) { return one.second == oldest; }));
  bytes_ -= oldest->bytes;
  kept_.pop_back();
}

Result<std::shared_ptr<const Automaton>> Cache::Compile(const wire::Grammar& grammar) {
  const size_t hash = HashOf(grammar);
  {
    const MutexLock lock(mutex_);
    if (const auto known = Find(hash, grammar); known != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, known);
      return known->compiled;
    }
  }
  auto compiled = grammar::Compile(grammar);
  const uint64_t bytes = sizeof(Kept) + BytesOf(grammar) + (compiled ? (*compiled)->bytes() : 0);
  const MutexLock lock(mutex_);
  if (Find(hash, grammar) != kept_.end()) return compiled;
  kept_.push_front({grammar, compiled, bytes});
  by_hash_.emplace(hash, kept_.begin());
  bytes_ += bytes;
  while (bytes_ > max_bytes_ && kept_.size() > 1) DropOldest();
  return compiled;
}

uint64_t Cache::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace exo::grammar
