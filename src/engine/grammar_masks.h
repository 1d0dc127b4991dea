// The masks of a lead's requests: grammars are compiled, and masks computed ahead, on a thread of
// its own beside the steps. The vocabulary is read when the first grammar comes.
//
// Thread: any. Owner: the lead's runner. Masks that were given out outlive it.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "engine/token_mask.h"
#include "grammar/cache.h"
#include "grammar/token_trie.h"
#include "model/tokenizer.h"
#include "wire/messages.h"

namespace exo::engine {

// What a grammar must know of a vocabulary.
grammar::VocabularyTokens TokensOf(const model::Tokenizer& tokenizer);

class GrammarMasks {
 public:
  using ReadTokenizer = std::function<Result<std::shared_ptr<const model::Tokenizer>>()>;
  using Done = std::function<void(Result<std::shared_ptr<const TokenMask>>)>;

  // Grammars that are kept for requests to come.
  static constexpr size_t kMostKept = 32;

  // `read` is called once, on the thread. `grammars`: see RunnerOptions.
  explicit GrammarMasks(ReadTokenizer read, grammar::Cache* grammars = nullptr);
  // Waits for what the thread is at: the compile of one grammar.
  ~GrammarMasks();

  // Calls `done` with the mask: at once when it is known, else on the thread, in the order of the
  // calls. Errors: those of the tokenizer, and of grammar::Compile.
  void Make(const wire::Grammar& grammar, Done done);

 private:
  class Worker;
  struct Kept {
    wire::Grammar grammar;
    std::shared_ptr<const TokenMask> mask;
  };
  Result<std::shared_ptr<const TokenMask>> Compile(const wire::Grammar& grammar);

  const ReadTokenizer read_;
  grammar::Cache* const grammars_;
  std::shared_ptr<const grammar::TokenTrie> tokens_;  // of the thread
  Mutex mutex_;
  std::list<Kept> kept_ EXO_GUARDED_BY(mutex_);  // the last used first
  const std::shared_ptr<Worker> worker_;
};

}  // namespace exo::engine
