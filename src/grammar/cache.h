// Compiled grammars, kept for requests to come: a text is compiled once, though whoever reads a
// request, whoever plans its answer and the lead that writes it all need it. A refusal is kept too.
//
// Thread: any, several at once; nobody waits for another one's compile. Owner: a node, which gives
// it to all who compile there.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "base/result.h"
#include "grammar/automaton.h"
#include "wire/messages.h"

namespace exo::grammar {

class Cache {
 public:
  // Texts and automata that are kept: hundreds of usual schemas, some lists of many tools.
  static constexpr uint64_t kMaxBytes = 32u << 20;

  explicit Cache(uint64_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  // As grammar::Compile, whose errors these are. Cost: that of comparing the text when it is known.
  // Two callers at once may both compile a text that is not.
  Result<std::shared_ptr<const Automaton>> Compile(const wire::Grammar& grammar);
  uint64_t bytes() const;  // kept now

 private:
  struct Kept {
    wire::Grammar grammar;
    Result<std::shared_ptr<const Automaton>> compiled;
    uint64_t bytes = 0;
  };
  using Order = std::list<Kept>;
  // The end: it is not known.
  Order::iterator Find(size_t hash, const wire::Grammar& grammar) EXO_REQUIRES(mutex_);
  void DropOldest() EXO_REQUIRES(mutex_);

  const uint64_t max_bytes_;
  mutable Mutex mutex_;
  Order kept_ EXO_GUARDED_BY(mutex_);  // the last used first
  std::unordered_multimap<size_t, Order::iterator> by_hash_ EXO_GUARDED_BY(mutex_);
  uint64_t bytes_ EXO_GUARDED_BY(mutex_) = 0;
};

}  // namespace exo::grammar
