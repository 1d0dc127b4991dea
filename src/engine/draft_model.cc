#include "engine/draft_model.h"

#include <algorithm>

#include "engine/prefix_index.h"
#include "engine/sampler.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

// What is read of a prompt before each step of the large model, which waits for it.
constexpr size_t kReadAtOnce = 256;

}  // namespace

void DraftModel::Close(std::map<RequestId, Sequence>::iterator at) {
  model_->Close(at->second.id);
  held_ -= at->second.tokens.size();
  sequences_.erase(at);
}

void DraftModel::Keep(const std::vector<RequestId>& alive) {
  for (auto at = sequences_.begin(); at != sequences_.end();) {
    const auto next = std::next(at);
    if (std::ranges::find(alive, at->first) == alive.end()) Close(at);
    at = next;
  }
}

void DraftModel::MakeRoom(uint64_t positions, const RequestId& but) {
  while (held_ + positions > positions_) {
    auto oldest = sequences_.end();
    for (auto at = sequences_.begin(); at != sequences_.end(); ++at) {
      if (at->first == but) continue;
      if (oldest == sequences_.end() || at->second.used < oldest->second.used) oldest = at;
    }
    if (oldest == sequences_.end()) return;
    Close(oldest);
  }
}

// True: all but the last token have been read.
Result<bool> DraftModel::CatchUp(const DraftWish& wish) {
  auto [at, fresh] = sequences_.try_emplace(wish.request);
  Sequence& sequence = at->second;
  if (fresh) {
    sequence.id = next_id_++;
    TRY(model_->Open(sequence.id, wire::kMaxContext));
  }
  sequence.used = ++clock_;
  // Guesses that were wrong, or a request that began again.
  const auto text = wish.tokens.first(wish.tokens.size() - 1);
  const uint32_t common = CommonPrefix(sequence.tokens, text);
  if (common < sequence.tokens.size()) {
    TRY(model_->Truncate(sequence.id, common));
    held_ -= sequence.tokens.size() - common;
    sequence.tokens.resize(common);
  }
  const auto missing = text.subspan(common);
  const auto part = missing.first(std::min(missing.size(), kReadAtOnce));
  if (part.empty()) return true;
  MakeRoom(part.size(), wish.request);
  TRY(model_->Append(sequence.id, common, part, 0, {}));
  sequence.tokens.insert(sequence.tokens.end(), part.begin(), part.end());
  held_ += part.size();
  return part.size() == missing.size();
}

Result<std::vector<DraftModel::Guess>> DraftModel::Draft(std::span<const DraftWish> wishes) {
  std::vector<Guess> guesses;
  std::vector<LocalModel::Next> next;
  for (const DraftWish& wish : wishes) {
    if (wish.tokens.empty() || wish.window == 0 || !TRY(CatchUp(wish))) continue;
    MakeRoom(wish.window, wish.request);
    // Making room for one may have taken another's sequence.
    std::erase_if(guesses, [&](const Guess& guess) { return !sequences_.contains(guess.request); });
    guesses.push_back({wish.request, {wish.tokens.back()}});
  }
  const Time begin = sys::Now();
  size_t computed = 0;
  const auto window_of = [&](const Guess& guess) {
    return std::ranges::find(wishes, guess.request, &DraftWish::request)->window;
  };
  const size_t vocab = model_->config().vocab;
  for (;;) {
    next.clear();
    std::vector<Guess*> running;
    for (Guess& guess : guesses) {
      if (guess.tokens.size() > window_of(guess)) continue;
      Sequence& sequence = sequences_.at(guess.request);
      next.push_back(
          {sequence.id, static_cast<uint32_t>(sequence.tokens.size()), guess.tokens.back()});
      sequence.tokens.push_back(guess.tokens.back());
      ++held_;
      running.push_back(&guess);
    }
    if (next.empty()) break;
    logits_.resize(next.size() * vocab);
    TRY(model_->Step(next, logits_));
    for (size_t i = 0; i < next.size(); ++i) {
      running[i]->tokens.push_back(TRY(Argmax(std::span(logits_).subspan(i * vocab, vocab))));
    }
    computed += next.size();
  }
  for (Guess& guess : guesses) guess.tokens.erase(guess.tokens.begin());
  if (computed > 0) {
    const Time spent = (sys::Now() - begin) / static_cast<int64_t>(computed);
    per_token_ = per_token_ == Time{} ? spent : per_token_ + (spent - per_token_) / 4;
  }
  return guesses;
}

}  // namespace exo::engine
