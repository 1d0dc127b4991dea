// Guesses of the tokens that come next, and whether guessing pays. A guess never changes an answer:
// the model computes the drafted rows in one step, and a draft stands only where it is the token
// that is sampled anyway.
//
// PromptLookup drafts what followed the last time that the text's latest tokens occurred: code that
// is edited, quotations and lists repeat. Saxena, "Prompt Lookup Decoding" (2023).
//
// Thread: one caller at a time. Owner: a request of the LeadMachine.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace exo::engine {

// A request whose next tokens a draft model may guess.
struct DraftWish {
  RequestId request;
  std::span<const TokenId> tokens;  // prompt and answer so far
  uint32_t window = 0;              // tokens that may pay
};

class PromptLookup {
 public:
  // Tokens that must occur again before anything is drafted.
  static constexpr size_t kLeastMatch = 3;

  struct Guess {
    std::vector<TokenId> tokens;  // empty: nothing is known
    uint32_t match = 0;  // how many of the text's latest tokens occurred before them, 32 at most
  };
  // `text` is the request's prompt and answer so far and only ever grows; `ahead` follows it and is
  // guessed itself. A text that repeats with a period shorter than `most` is continued with that
  // period.
  // Cost: O(new tokens), about 32 bytes for each.
  Guess Find(std::span<const TokenId> text, std::span<const TokenId> ahead, size_t most);

 private:
  std::unordered_map<uint64_t, uint32_t> after_;  // hash of kLeastMatch tokens -> position behind
  size_t indexed_ = 0;                            // tokens of the text that are in it
};

// How many tokens to draft. It keeps an account in units of a step without drafts: a drafted row
// takes what it costs, an accepted one brings a step, and each token adds a small allowance.
// Windows ahead of the answer also cost the visits to the stages. Drafts need a balance, so that a
// text in which every guess is wrong is slower by the allowance at most. A bad experience fades
// with the tokens that follow it: a text may begin to repeat at any time.
class DraftPayoff {
 public:
  static constexpr uint32_t kMost = 15;           // tokens of one draft
  static constexpr uint32_t kModel = UINT32_MAX;  // instead of a match: a draft model's

  // Tokens to draft behind a match of `match` tokens, when a drafted row costs `cost` steps.
  uint32_t Window(uint32_t match, double cost) const;
  // Rows of a window ahead, which counts only if `assumed` drafts before it and the token behind
  // them are right: sending it costs `visit` steps beside its rows.
  uint32_t WindowAhead(uint32_t match, size_t assumed, double visit, double cost) const;
  void Spend(double cost) { balance_ = std::max(0.0, balance_ - cost); }
  void OnPlain();
  // Of drafts that were spent for.
  void OnDrafted(uint32_t match, uint32_t drafted, uint32_t accepted);

 private:
  static size_t Class(uint32_t match);
  double balance_ = 0.5;
  static constexpr std::array<double, 4> kExpected = {0.5, 0.7, 0.85, 0.7};
  std::array<double, 4> accepted_ = kExpected;  // part of drafts that stand, by match
};

}  // namespace exo::engine
