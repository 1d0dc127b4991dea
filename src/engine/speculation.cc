#include "engine/speculation.h"

#include <algorithm>

namespace exo::engine {
namespace {

constexpr uint32_t kMostMatch = 32;  // longer ones say no more
// What a token adds to the account: the most that useless drafts may cost.
constexpr double kAllowance = 0.01;
// Enough for the longest draft; more would let a text that stops repeating lose it all.
constexpr double kMostBalance = 6;
constexpr double kNewest = 0.1;  // the part of one drafted token in the moving average
constexpr double kFade = 0.01;

uint64_t Hash(std::span<const TokenId> tokens) {
  uint64_t hash = 0;
  for (const TokenId token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

uint32_t MatchLength(std::span<const TokenId> text, size_t end) {
  uint32_t length = 0;
  while (length < kMostMatch && length < end &&
         text[end - 1 - length] == text[text.size() - 1 - length])
    ++length;
  return length;
}

}  // namespace

PromptLookup::Guess PromptLookup::Find(std::span<const TokenId> text, size_t most) {
  // The text's own end is not a place to copy from: it is indexed when more tokens are known.
  for (; indexed_ + 1 < text.size(); ++indexed_) {
    if (indexed_ + 1 >= kLeastMatch)
      after_[Hash(text.subspan(indexed_ + 1 - kLeastMatch, kLeastMatch))] =
          static_cast<uint32_t>(indexed_ + 1);
  }
  if (text.size() < kLeastMatch) return {};
  const auto found = after_.find(Hash(text.last(kLeastMatch)));
  if (found == after_.end()) return {};
  const size_t begin = found->second;
  const uint32_t match = MatchLength(text, begin);
  if (match < kLeastMatch) return {};  // another text of the same hash
  Guess guess{.tokens = {}, .match = match};
  const size_t known = text.size() - begin;
  for (size_t i = 0; i < most; ++i)
    guess.tokens.push_back(i < known ? text[begin + i] : guess.tokens[i - known]);
  return guess;
}

size_t DraftPayoff::Class(uint32_t match) {
  if (match == kModel) return 3;
  return match >= 16 ? 2 : match >= 6 ? 1 : 0;
}

uint32_t DraftPayoff::Window(uint32_t match, double cost) const {
  const double stands = accepted_[Class(match)];
  uint32_t best = 0;
  double best_rate = 1;  // tokens in the time of a step without drafts
  double expected = 1, part = 1;
  for (uint32_t window = 1; window <= kMost && window * cost <= balance_; ++window) {
    part *= stands;
    expected += part;
    const double rate = expected / (1 + window * cost);
    if (rate <= best_rate) continue;
    best = window;
    best_rate = rate;
  }
  return best;
}

void DraftPayoff::OnPlain() {
  balance_ = std::min(kMostBalance, balance_ + kAllowance);
  for (size_t i = 0; i < accepted_.size(); ++i)
    accepted_[i] += kFade * (std::max(kExpected[i], accepted_[i]) - accepted_[i]);
}

void DraftPayoff::OnDrafted(uint32_t match, uint32_t drafted, uint32_t accepted, double cost) {
  balance_ = std::clamp(balance_ + accepted - drafted * cost, 0.0, kMostBalance);
  // Rows behind the first wrong one were not tried.
  const double tried = std::min(drafted, accepted + 1);
  double& average = accepted_[Class(match)];
  for (double i = 0; i < tried; ++i) average += kNewest * ((i < accepted ? 1 : 0) - average);
  average = std::clamp(average, 0.02, 0.99);
}

}  // namespace exo::engine
