#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "kernels/elementary.h"

namespace exo::engine {
namespace {

using Candidate = SamplerScratch::Candidate;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// The first prefix that top-p sorts: holds 0.95 of the probability in nearly every step.
constexpr size_t kFirstPrefix = 128;

bool Better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

Result<void> CheckSettings(const wire::SamplerSettings& s) {
  const auto check = [](bool good, const char* name, float value) -> Result<void> {
    if (good) return {};
    return Fail(ErrorCode::kInvalid, "sampler setting {} is {}, outside its range", name, value);
  };
  TRY(check(s.temperature >= 0 && s.temperature < kInfinity, "temperature", s.temperature));
  TRY(check(s.top_p >= 0 && s.top_p <= 1, "top_p", s.top_p));
  TRY(check(s.min_p >= 0 && s.min_p <= 1, "min_p", s.min_p));
  TRY(check(s.repeat_penalty > 0 && s.repeat_penalty < kInfinity, "repeat_penalty",
            s.repeat_penalty));
  TRY(check(std::isfinite(s.presence_penalty), "presence_penalty", s.presence_penalty));
  TRY(check(std::isfinite(s.frequency_penalty), "frequency_penalty", s.frequency_penalty));
  return {};
}

// One penalty per distinct token of the window: repeat first, then frequency by count, then
// presence.
void Penalize(std::span<float> logits, std::span<const TokenId> history,
              const wire::SamplerSettings& s, std::vector<TokenId>& window) {
  if (s.repeat_penalty == 1 && s.presence_penalty == 0 && s.frequency_penalty == 0) return;
  const auto last = history.last(std::min<size_t>(history.size(), s.penalty_window));
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

// Every token within the tail of the best one, by index.
void Collect(std::span<const float> logits, float best, const wire::SamplerSettings& s,
             std::vector<Candidate>& out) {
  out.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = (logits[i] - best) / s.temperature;
    if (!(scaled >= -kSamplerTail)) continue;
    const float weight = kernels::Exp(scaled);
    if (weight < s.min_p) continue;
    out.push_back({logits[i], weight, static_cast<TokenId>(i)});
  }
}

float Sum(std::span<const Candidate> candidates) {
  float sum = 0;
  for (const Candidate& c : candidates) sum = sum + c.weight;
  return sum;
}

// Puts the best `count` in front, in order.
void SortBest(std::vector<Candidate>& all, size_t from, size_t count) {
  const auto begin = all.begin() + static_cast<ptrdiff_t>(from);
  const auto middle = all.begin() + static_cast<ptrdiff_t>(count);
  if (count < all.size()) std::nth_element(begin, middle, all.end(), Better);
  std::sort(begin, middle, Better);
}

// The shortest prefix, best first, that holds top_p of the sum. The order is total, so that growing
// the sorted part step by step gives the prefix of a full sort.
void KeepTopP(std::vector<Candidate>& all, bool sorted, float top_p) {
  const float wanted = top_p * Sum(all);
  float mass = 0;
  size_t ready = sorted ? all.size() : 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == ready) {
      const size_t grown = std::min(all.size(), std::max(kFirstPrefix, ready * 4));
      SortBest(all, ready, grown);
      ready = grown;
    }
    mass = mass + all[i].weight;
    if (mass >= wanted) {
      all.resize(i + 1);
      return;
    }
  }
  if (!sorted) SortBest(all, 0, all.size());
}

TokenId Draw(std::span<const Candidate> kept, float uniform) {
  const float target = uniform * Sum(kept);
  float mass = 0;
  for (const Candidate& c : kept) {
    mass = mass + c.weight;
    if (mass > target) return c.token;
  }
  return kept.back().token;
}

}  // namespace

Result<TokenId> Argmax(std::span<const float> logits) {
  if (logits.empty()) return Fail(ErrorCode::kInvalid, "no logits to choose from");
  float best = -kInfinity;
  size_t at = logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < kInfinity) {
      if (logits[i] > best) best = logits[i], at = i;
    } else {
      return Fail(ErrorCode::kCorrupt, "the logit of token {} is {}", i, logits[i]);
    }
  }
  if (at == logits.size())
    return Fail(ErrorCode::kCorrupt, "all {} logits are -inf", logits.size());
  return static_cast<TokenId>(at);
}

Result<TokenId> Sample(std::span<float> logits, std::span<const TokenId> history,
                       const wire::SamplerSettings& s, uint64_t position, SamplerScratch& scratch) {
  TRY(CheckSettings(s));
  Penalize(logits, history, s, scratch.window);
  const TokenId best = TRY(Argmax(logits));
  if (s.temperature == 0) return best;
  std::vector<Candidate>& candidates = scratch.candidates;
  // min-p keeps a prefix of "best first" too, so that only top-p's sum could see that it came
  // earlier: with both on, top-p is of the whole distribution and min-p is taken last.
  const bool top_p = s.top_p < 1;
  wire::SamplerSettings collect = s;
  if (top_p) collect.min_p = 0;
  Collect(logits, logits[static_cast<size_t>(best)], collect, candidates);
  const bool top_k = s.top_k > 0;
  if (top_k) {
    const size_t keep = std::min<size_t>(candidates.size(), s.top_k);
    SortBest(candidates, 0, keep);
    candidates.resize(keep);
  }
  if (top_p) {
    KeepTopP(candidates, top_k, s.top_p);
    const auto weak = [&](const Candidate& c) { return c.weight < s.min_p; };
    candidates.erase(std::find_if(candidates.begin(), candidates.end(), weak), candidates.end());
  }
  return Draw(candidates, UniformFloat(s.seed, position));
}

}  // namespace exo::engine
