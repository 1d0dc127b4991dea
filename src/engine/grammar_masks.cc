#include "engine/grammar_masks.h"

#include <algorithm>
#include <deque>

#include "base/thread.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"

namespace exo::engine {

grammar::VocabularyTokens TokensOf(const model::Tokenizer& tokenizer) {
  grammar::VocabularyTokens tokens;
  for (size_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const bool ends = tokenizer.IsEndOfGeneration(id);
    if (ends) tokens.ends.push_back(id);
    const bool special = ends || tokenizer.IsControl(id);
    tokens.special.push_back(special);
    tokens.bytes.push_back(special ? "" : tokenizer.Bytes(id));
  }
  return tokens;
}

// One thread that does one thing after the other; started when there is something to do.
class GrammarMasks::Worker {
 public:
  ~Worker() { Stop(); }
  void Post(std::function<void()> work) {
    const MutexLock lock(mutex_);
    if (stopped_) return;
    queue_.push_back(std::move(work));
    changed_.NotifyOne();
    if (!thread_.joinable()) thread_ = StartThread([this] { Main(); });
  }
  // For what helps only now: forgotten when other things wait.
  void PostIfFree(std::function<void()> work) {
    {
      const MutexLock lock(mutex_);
      if (queue_.size() >= kMostWaiting) return;
    }
    Post(std::move(work));
  }
  void Stop() {
    {
      const MutexLock lock(mutex_);
      stopped_ = true;
      queue_.clear();
      changed_.NotifyOne();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Main() {
    for (;;) {
      std::function<void()> work;
      {
        MutexLock lock(mutex_);
        while (queue_.empty() && !stopped_) changed_.Wait(mutex_);
        if (stopped_) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  static constexpr size_t kMostWaiting = 16;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ EXO_GUARDED_BY(mutex_);
  bool stopped_ EXO_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

namespace {

class GrammarMask final : public TokenMask {
 public:
  // `post` runs something beside the steps, or forgets it.
  GrammarMask(std::shared_ptr<grammar::Matcher> matcher,
              std::function<void(std::function<void()>)> post)
      : matcher_(std::move(matcher)), post_(std::move(post)) {}

  void Allow(std::span<const uint8_t> state, std::span<uint64_t> allowed) const override {
    matcher_->Allow(state, allowed);
  }
  std::vector<uint8_t> Next(std::span<const uint8_t> state, TokenId token) const override {
    return matcher_->Next(state, token);
  }
  std::optional<TokenId> Only(std::span<const uint8_t> state) const override {
    return matcher_->Only(state);
  }
  bool Ended(std::span<const uint8_t> state) const override { return matcher_->MustEnd(state); }
  void Expect(std::span<const uint8_t> state) const override {
    post_([matcher = matcher_, place = std::vector(state.begin(), state.end())] {
      matcher->Prepare(place);
    });
  }

 private:
  const std::shared_ptr<grammar::Matcher> matcher_;
  const std::function<void(std::function<void()>)> post_;
};

}  // namespace

GrammarMasks::GrammarMasks(ReadTokenizer read, grammar::Cache* grammars)
    : read_(std::move(read)), grammars_(grammars), worker_(std::make_shared<Worker>()) {}

GrammarMasks::~GrammarMasks() {
  worker_->Stop();
}

Result<std::shared_ptr<const TokenMask>> GrammarMasks::Compile(const wire::Grammar& grammar) {
  if (tokens_ == nullptr) {
    const auto tokenizer = TRY(read_());
    tokens_ = std::make_shared<const grammar::TokenTrie>(TokensOf(*tokenizer));
  }
  auto automaton =
      TRY(grammars_ != nullptr ? grammars_->Compile(grammar) : grammar::Compile(grammar));
  const auto matcher = std::make_shared<grammar::Matcher>(std::move(automaton), tokens_);
  matcher->Prepare({});
  return std::make_shared<const GrammarMask>(
      matcher, [worker = std::weak_ptr(worker_)](std::function<void()> work) {
        if (const auto alive = worker.lock()) alive->PostIfFree(std::move(work));
      });
}

void GrammarMasks::Make(const wire::Grammar& grammar, Done done) {
  {
    const MutexLock lock(mutex_);
    const auto known = std::ranges::find(kept_, grammar, &Kept::grammar);
    if (known != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, known);
      const auto mask = known->mask;
      return done(mask);
    }
  }
  worker_->Post([this, grammar, done = std::move(done)] {
    auto mask = Compile(grammar);
    if (mask) {
      const MutexLock lock(mutex_);
      kept_.push_front({grammar, *mask});
      if (kept_.size() > kMostKept) kept_.pop_back();
    }
    done(std::move(mask));
  });
}

}  // namespace exo::engine
