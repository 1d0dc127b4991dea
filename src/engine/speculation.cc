#include "engine/speculation.h"

#include <algorithm>
#include <cmath>

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

// A text, and guesses behind it.
struct Joined {
  std::span<const TokenId> text, ahead;
  size_t size() const { return text.size() + ahead.size(); }
  TokenId operator[](size_t i) const { return i < text.size() ? text[i] : ahead[i - text.size()]; }
};

uint32_t MatchLength(const Joined& text, size_t end) {
  uint32_t length = 0;
  while (length < kMostMatch && length < end &&
         text[end - 1 - length] == text[text.size() - 1 - length])
    ++length;
  return length;
}

}  // namespace

PromptLookup::Guess PromptLookup::Find(std::span<const TokenId> text,
                                       std::span<const TokenId> ahead, size_t most) {
  // The text's own end is not a place to copy from: it is indexed when more tokens are known.
  for (; indexed_ + 1 < text.size(); ++indexed_) {
    if (indexed_ + 1 >= kLeastMatch)
      after_[Hash(text.subspan(indexed_ + 1 - kLeastMatch, kLeastMatch))] =
          static_cast<uint32_t>(indexed_ + 1);
  }
  const Joined whole{text, ahead};
  if (whole.size() < kLeastMatch) return {};
  std::array<TokenId, kLeastMatch> last;
  for (size_t i = 0; i < kLeastMatch; ++i) last[i] = whole[whole.size() - kLeastMatch + i];
  const auto found = after_.find(Hash(last));
  if (found == after_.end()) return {};
  const size_t begin = found->second;
  const uint32_t match = MatchLength(whole, begin);
  if (match < kLeastMatch) return {};  // another text of the same hash
  Guess guess{.tokens = {}, .match = match};
  const size_t known = whole.size() - begin;
  for (size_t i = 0; i < most; ++i)
    guess.tokens.push_back(i < known ? whole[begin + i] : guess.tokens[i - known]);
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

uint32_t DraftPayoff::WindowAhead(uint32_t match, size_t assumed, double visit, double cost) const {
  const double stands = accepted_[Class(match)];
  double counts = std::pow(stands, static_cast<double>(assumed + 1));
  uint32_t rows = 0;
  double gain = 0;  // expected tokens
  while (rows <= kMost && counts > cost && visit + (rows + 1) * cost <= balance_) {
    ++rows;
    gain += counts;
    counts *= stands;
  }
  return gain > visit + rows * cost ? rows : 0;
}

void DraftPayoff::OnPlain() {
  balance_ = std::min(kMostBalance, balance_ + kAllowance);
  for (size_t i = 0; i < accepted_.size(); ++i)
    accepted_[i] += kFade * (std::max(kExpected[i], accepted_[i]) - accepted_[i]);
}

void DraftPayoff::OnDrafted(uint32_t match, uint32_t drafted, uint32_t accepted) {
  balance_ = std::min(kMostBalance, balance_ + accepted);
  // Rows behind the first wrong one were not tried.
  const double tried = std::min(drafted, accepted + 1);
  double& average = accepted_[Class(match)];
  for (double i = 0; i < tried; ++i) average += kNewest * ((i < accepted ? 1 : 0) - average);
  average = std::clamp(average, 0.02, 0.99);
}

}  // namespace exo::engine
