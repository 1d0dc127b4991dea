// Which tokens of a vocabulary may come next in a text of a grammar. What is found out once is kept
// in memory that is bounded: which tokens fit into a rule whatever stands around it, and whole
// masks of places.
//
// A place in a text is given as bytes (empty: its beginning), which another device that has
// compiled the same grammar understands.
//
// Thread: any, several at once. Owner: whoever holds the pointers; all parts are shared.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "grammar/automaton.h"
#include "grammar/stacks.h"
#include "grammar/token_trie.h"

namespace exo::grammar {

class Matcher {
 public:
  Matcher(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const TokenTrie> tokens);

  // Sets bit t % 64 of allowed[t / 64] for each token t that may come. `allowed` [ceil(vocab/64)]
  // is zero. A place that is none of this grammar allows nothing.
  // Cost: a copy when the mask is known; else about 0.1 to 2 ms for 128,000 tokens.
  void Allow(std::span<const uint8_t> place, std::span<uint64_t> allowed);
  // Finds the mask without copying it.
  void Prepare(std::span<const uint8_t> place);
  // The place behind a token. After one that is not allowed nothing is.
  std::vector<uint8_t> Next(std::span<const uint8_t> place, TokenId token);
  // The token that must come, when there is only one and the text may not end.
  std::optional<TokenId> Only(std::span<const uint8_t> place);
  // The text may end / must end here.
  bool MayEnd(std::span<const uint8_t> place);
  bool MustEnd(std::span<const uint8_t> place);

 private:
  // A bit for each token, or the tokens themselves where they are few.
  struct Tokens {
    std::vector<uint64_t> bits;
    std::vector<TokenId> few;
    void AddTo(std::span<uint64_t> all) const;
    size_t bytes() const { return bits.size() * sizeof(bits[0]) + few.size() * sizeof(few[0]); }
  };
  static Tokens Packed(std::span<const uint64_t> bits);
  struct Local {
    Tokens tokens;                // that fit while the rule on top lasts
    std::vector<uint32_t> exits;  // nodes where it may have ended, and that have more below
    // Nodes below which the rule takes all tokens that are short enough for its limit. Whether a
    // longer one fits depends on what follows the rule.
    std::vector<uint32_t> cut;
    uint32_t depth = 0;  // calls that its tokens may make on top of each other
  };
  struct Mask {
    Tokens tokens;
    std::list<SetId>::iterator used;
  };
  // What a state loops over without leaving: its subtrees need not be walked.
  struct Loop {
    uint64_t low = 0, high = 0;
    bool wide = false;        // over every character from 128 on, but
    bool separators = false;  // U+2028 and U+2029 only with this
    bool known = false;
  };

  SetId Find(std::span<const uint8_t> place) EXO_REQUIRES(mutex_);
  SetId After(SetId set, TokenId token) EXO_REQUIRES(mutex_);
  const Tokens& MaskOf(SetId set) EXO_REQUIRES(mutex_);
  const Local& LocalOf(const StackTop& top) EXO_REQUIRES(mutex_);
  const Loop& LoopOf(StateId state) EXO_REQUIRES(mutex_);
  // How many characters below the node a state takes that loops over all that is there; 0: none
  // does.
  uint32_t LoopsOver(SetId set, const TokenTrie::Node& node) EXO_REQUIRES(mutex_);
  void Walk(SetId from, uint32_t begin, uint32_t end, std::vector<uint64_t>& bits, Local* local)
      EXO_REQUIRES(mutex_);
  // What follows the rule of a local result.
  void WalkBehind(SetId set, const Local& local, SetId back, std::vector<uint64_t>& bits)
      EXO_REQUIRES(mutex_);
  TokenTrie::Contents FirstBytes(SetId set) EXO_REQUIRES(mutex_);
  void AddSpecials(SetId set, std::vector<uint64_t>& bits) EXO_REQUIRES(mutex_);
  bool HasTokenEdges(SetId set) EXO_REQUIRES(mutex_);
  // Up to two tokens that may come.
  size_t FirstTwo(SetId set, TokenId (&found)[2]) EXO_REQUIRES(mutex_);
  void MakeRoom() EXO_REQUIRES(mutex_);

  const std::shared_ptr<const Automaton> automaton_;
  const std::shared_ptr<const TokenTrie> tokens_;
  Mutex mutex_;
  Stacks stacks_ EXO_GUARDED_BY(mutex_);
  std::unordered_map<std::string, SetId> places_ EXO_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, Local> locals_ EXO_GUARDED_BY(mutex_);
  size_t local_bytes_ EXO_GUARDED_BY(mutex_) = 0;
  std::unordered_map<SetId, Mask> masks_ EXO_GUARDED_BY(mutex_);
  size_t mask_bytes_ EXO_GUARDED_BY(mutex_) = 0;
  std::list<SetId> recent_ EXO_GUARDED_BY(mutex_);  // of masks_, the last used first
  std::vector<Loop> loops_ EXO_GUARDED_BY(mutex_);
  std::vector<SetId> path_ EXO_GUARDED_BY(mutex_);  // of Walk
  uint32_t deepest_ EXO_GUARDED_BY(mutex_) = 0;     // set that Walk has come to
  const uint32_t most_need_;                        // of all rules
};

}  // namespace exo::grammar
