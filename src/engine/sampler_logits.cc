// Steps that change logits and take no token away by its rank.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/sampler_steps.h"
#include "kernels/elementary.h"

namespace exo::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::span<const TokenId> LastOf(std::span<const TokenId> history, uint32_t count) {
  return history.last(std::min<size_t>(history.size(), count));
}

// The row sum of rule 6, in place order, of f(value) over the finite values.
template <class F>
float SumOfFinite(std::span<const float> values, F f) {
  float lanes[16] = {};
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != -kInfinity) lanes[i % 16] = lanes[i % 16] + f(values[i]);
  }
  return kernels::RowSum(lanes, 16);
}

// ---- DRY. Positions count from the end: 0 is the last token.
class Repetitions {
 public:
  Repetitions(std::span<const TokenId> window, const wire::SamplerSettings& s)
      : window_(window), settings_(s) {}

  // Tokens at the end that may be part of a repetition: none is longer, since a breaker ends it.
  uint32_t Limit() const {
    for (uint32_t i = 0; i < window_.size(); ++i) {
      if (const auto tail = LongestBreak(i)) return i - *tail;
    }
    return static_cast<uint32_t>(window_.size());
  }
  // counts[k]: how many tokens before position k are those before position 0, both included, at
  // most `limit` (the Z function of the window read backwards).
  void Count(uint32_t limit, std::vector<uint32_t>& counts) const {
    const auto size = static_cast<uint32_t>(window_.size());
    counts.assign(size, 0);
    uint32_t left = 0, right = 0;  // [left, right) is what the match at `left` covers
    for (uint32_t k = 1; k < size; ++k) {
      uint32_t n = k < right ? std::min(counts[k - left], right - k) : 0;
      while (k + n < size && At(n) == At(k + n)) ++n;
      counts[k] = n;
      if (k + n > right) left = k, right = k + n;
    }
    for (uint32_t& n : counts) n = std::min(n, limit);
  }
  bool BreaksAlone(TokenId token) const {
    const auto& singles = settings_.dry_break_tokens;
    return std::binary_search(singles.begin(), singles.end(), token);
  }
  TokenId At(uint32_t position) const { return window_[window_.size() - 1 - position]; }

 private:
  // The longest breaker that begins at this position: how many tokens follow its first one.
  std::optional<uint32_t> LongestBreak(uint32_t position) const {
    std::optional<uint32_t> longest;
    if (BreaksAlone(At(position))) longest = 0;
    const auto& all = settings_.dry_break_sequences;
    for (auto begin = all.begin(); begin != all.end();) {
      const auto end = std::find(begin, all.end(), -1);
      const auto length = static_cast<uint32_t>(end - begin);
      if (length > 0 && length <= position + 1 && length > longest.value_or(0)) {
        uint32_t same = 0;
        while (same < length && begin[same] == At(position - same)) ++same;
        if (same == length) longest = length - 1;
      }
      begin = end == all.end() ? end : end + 1;
    }
    return longest;
  }

  std::span<const TokenId> window_;
  const wire::SamplerSettings& settings_;
};

// base^exponent by one product after the other, as long as it is finite.
float Power(float base, uint32_t exponent) {
  float power = 1;
  for (uint32_t i = 0; i < exponent && base > 1; ++i) {
    const float next = power * base;
    if (next == kInfinity) break;
    power = next;
  }
  return power;
}

}  // namespace

void BiasAndMask(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch) {
  for (const wire::LogitBias& one : input.settings.logit_bias) {
    if (one.token < 0 || static_cast<size_t>(one.token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(one.token)];
    logit = logit + one.bias;
  }
  if (input.mask == nullptr) return;
  scratch.allowed.assign((logits.size() + 63) / 64, 0);
  input.mask->Allow(input.state.grammar, scratch.allowed);
  for (size_t word = 0; word < scratch.allowed.size(); ++word) {
    const uint64_t bits = scratch.allowed[word];
    if (bits == ~uint64_t{0}) continue;
    const size_t end = std::min(logits.size(), word * 64 + 64);
    for (size_t i = word * 64; i < end; ++i) {
      if ((bits >> (i % 64) & 1) == 0) logits[i] = -kInfinity;
    }
  }
}

void Penalize(std::span<float> logits, const SampleInput& input, std::vector<TokenId>& window) {
  const wire::SamplerSettings& s = input.settings;
  if (s.repeat_penalty == 1 && s.presence_penalty == 0 && s.frequency_penalty == 0) return;
  const auto last = LastOf(input.history, s.penalty_window);
  window.assign(last.begin(), last.end());
  std::sort(window.begin(), window.end());
  for (size_t begin = 0, end = 0; begin < window.size(); begin = end) {
    const TokenId token = window[begin];
    while (end < window.size() && window[end] == token) ++end;
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / s.repeat_penalty : logit * s.repeat_penalty;
    const float frequency = static_cast<float>(end - begin) * s.frequency_penalty;
    logit = logit - frequency;
    logit = logit - s.presence_penalty;
  }
}

void PenalizeRepetition(std::span<float> logits, const SampleInput& input,
                        SamplerScratch& scratch) {
  const wire::SamplerSettings& s = input.settings;
  if (s.dry_multiplier == 0 || s.dry_window == 0) return;
  const auto window = LastOf(input.history, s.dry_window);
  if (window.size() <= s.dry_allowed_length) return;
  const Repetitions repetitions(window, s);
  const uint32_t limit = repetitions.Limit();
  if (limit < s.dry_allowed_length) return;
  std::vector<uint32_t>& counts = scratch.repeats;
  repetitions.Count(limit, counts);
  auto& longest = scratch.longest;  // of each token that came after a repetition
  longest.clear();
  for (uint32_t k = 1; k < counts.size(); ++k) {
    if (counts[k] >= s.dry_allowed_length) longest.emplace_back(repetitions.At(k - 1), counts[k]);
  }
  std::sort(longest.begin(), longest.end());
  for (size_t i = 0; i < longest.size(); ++i) {
    const auto [token, length] = longest[i];
    if (i + 1 < longest.size() && longest[i + 1].first == token) continue;  // a longer one follows
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    if (repetitions.BreaksAlone(token)) continue;
    const float penalty = s.dry_multiplier * Power(s.dry_base, length - s.dry_allowed_length);
    logits[static_cast<size_t>(token)] = logits[static_cast<size_t>(token)] - penalty;
  }
}

void CutBySigma(std::span<float> values, float n) {
  if (n == 0 || values.size() < 2) return;
  const auto finite = static_cast<size_t>(
      std::count_if(values.begin(), values.end(), [](float v) { return v != -kInfinity; }));
  if (finite == 0) return;
  const float best = *std::max_element(values.begin(), values.end());
  const auto count = static_cast<float>(finite);
  const float mean = SumOfFinite(values, [](float v) { return v; }) / count;
  const float square = SumOfFinite(values, [&](float v) {
    const float off = v - mean;
    return off * off;
  });
  const float distance = n * std::sqrt(square / count);
  const float least = best - distance;
  for (float& v : values) {
    if (v < least) v = -kInfinity;
  }
}

}  // namespace exo::engine
