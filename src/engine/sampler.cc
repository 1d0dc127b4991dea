#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/backend.h"
#include "engine/best_logits.h"
#include "engine/sampler_steps.h"
#include "kernels/elementary.h"

namespace exo::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMostMirostat = 1000;  // bits, and steps of mu: mu stays finite

Result<void> Check(bool good, const char* name, float value) {
  if (good) return {};
  return Fail(ErrorCode::kInvalid, "sampler setting {} is {}, outside its range", name, value);
}

bool Below(float value, float limit) {
  return value >= 0 && value <= limit;  // false for NaN
}

Result<void> CheckSteps(const wire::SamplerSettings& s) {
  TRY(Check(Below(s.typical_p, 1), "typical_p", s.typical_p));
  TRY(Check(s.top_n_sigma >= 0 && s.top_n_sigma < kInfinity, "top_n_sigma", s.top_n_sigma));
  TRY(Check(Below(s.xtc_probability, 1), "xtc_probability", s.xtc_probability));
  TRY(Check(Below(s.xtc_threshold, 1), "xtc_threshold", s.xtc_threshold));
  TRY(Check(s.dry_multiplier >= 0 && s.dry_multiplier < kInfinity, "dry_multiplier",
            s.dry_multiplier));
  if (s.dry_multiplier > 0) {
    TRY(Check(s.dry_base >= 1 && s.dry_base < kInfinity, "dry_base", s.dry_base));
    const auto& singles = s.dry_break_tokens;
    if (!std::is_sorted(singles.begin(), singles.end()))
      return Fail(ErrorCode::kInvalid, "the {} break tokens of DRY are not in order",
                  singles.size());
  }
  if (s.mirostat) {
    TRY(Check(Below(s.mirostat_tau, kMostMirostat), "mirostat_tau", s.mirostat_tau));
    TRY(Check(Below(s.mirostat_eta, kMostMirostat), "mirostat_eta", s.mirostat_eta));
  }
  return {};
}

Result<void> CheckSettings(const wire::SamplerSettings& s) {
  TRY(Check(s.temperature >= 0 && s.temperature < kInfinity, "temperature", s.temperature));
  TRY(Check(Below(s.top_p, 1), "top_p", s.top_p));
  TRY(Check(Below(s.min_p, 1), "min_p", s.min_p));
  TRY(Check(s.repeat_penalty > 0 && s.repeat_penalty < kInfinity, "repeat_penalty",
            s.repeat_penalty));
  TRY(Check(std::isfinite(s.presence_penalty), "presence_penalty", s.presence_penalty));
  TRY(Check(std::isfinite(s.frequency_penalty), "frequency_penalty", s.frequency_penalty));
  return CheckSteps(s);
}

// Logits that Argmax looks at together, without a branch for each: the compiler makes vectors of
// it.
constexpr size_t kLookAhead = 256;

// All are logits, and none is above `best`.
bool NothingNew(std::span<const float> logits, float best) {
  int good = 1;
  for (const float x : logits)
    good &= static_cast<int>(x <= best);  // false for NaN; best is finite
  return good != 0;
}

// Every token within the tail of the best one, by index.
void Collect(std::span<const float> logits, float best, float temperature, float min_p,
             std::vector<Candidate>& out) {
  out.resize(logits.size());
  size_t count = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = (logits[i] - best) / temperature;
    if (!(scaled >= -kSamplerTail)) continue;
    const float weight = kernels::Exp(scaled);
    if (weight < min_p) continue;
    out[count++] = {logits[i], weight, static_cast<TokenId>(i)};
  }
  out.resize(count);
}

// The common case of RunChain, cheaper: the order without settings.order, with neither typical-p
// nor XTC.
Result<TokenId> RunUsual(std::span<float> logits, const SampleInput& input,
                         SamplerScratch& scratch) {
  const wire::SamplerSettings& s = input.settings;
  Penalize(logits, input, scratch.window);
  PenalizeRepetition(logits, input, scratch);
  const TokenId best = TRY(Argmax(logits));
  if (s.temperature == 0) return best;
  CutBySigma(logits, s.top_n_sigma);
  std::vector<Candidate>& candidates = scratch.candidates;
  // min-p keeps a prefix of "best first" too, so that only top-p's sum could see that it came
  // earlier: with both on, top-p is of the whole distribution and min-p is taken last.
  const bool top_p = s.top_p < 1;
  Collect(logits, logits[static_cast<size_t>(best)], s.temperature, top_p ? 0 : s.min_p,
          candidates);
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
  return Draw(candidates, Uniform(input, 0));
}

// The most likely ones, best first.
void ListTop(std::span<const float> logits, size_t count, std::vector<Candidate>& top) {
  top.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate one{.logit = logits[i], .token = static_cast<TokenId>(i)};
    if (top.size() == count && !Better(one, top.back())) continue;
    if (top.size() == count) top.pop_back();
    top.insert(std::upper_bound(top.begin(), top.end(), one, Better), one);
  }
}

// Rule 15 of one row, before any step has changed it.
struct RowLogprobs {
  std::span<const float> logits;
  float best = 0;
  float log_sum = 0;
  float Of(TokenId token) const { return (logits[static_cast<size_t>(token)] - best) - log_sum; }
};
Result<RowLogprobs> ReportTop(std::span<const float> logits, size_t top, SamplerScratch& scratch,
                              wire::Logprobs& out) {
  const TokenId best = TRY(Argmax(logits));
  scratch.raw.assign(logits.begin(), logits.end());
  RowLogprobs row{.logits = scratch.raw, .best = logits[static_cast<size_t>(best)]};
  row.log_sum = kernels::LogSumExp(logits.data(), logits.size(), row.best);
  const size_t count = std::min(top, logits.size());
  if (count == 0) return row;
  ListTop(logits, count, scratch.candidates);
  for (const Candidate& one : scratch.candidates) out.top.push_back({one.token, row.Of(one.token)});
  return row;
}

// Nothing changes a logit for what it is a logit of.
bool TakesLogitsAsTheyAre(const wire::SamplerSettings& s) {
  return s.logit_bias.empty() && s.repeat_penalty == 1 && s.presence_penalty == 0 &&
         s.frequency_penalty == 0 && s.dry_multiplier == 0 && s.top_n_sigma == 0;
}

bool IsUsual(const wire::SamplerSettings& s) {
  return !s.mirostat && s.order.empty() && s.typical_p >= 1 && s.xtc_probability == 0;
}

}  // namespace

Result<TokenId> Argmax(std::span<const float> logits) {
  if (logits.empty()) return Fail(ErrorCode::kInvalid, "no logits to choose from");
  float best = -kInfinity;
  size_t at = logits.size();
  for (size_t begin = 0; begin < logits.size(); begin += kLookAhead) {
    const size_t end = std::min(begin + kLookAhead, logits.size());
    if (NothingNew(logits.subspan(begin, end - begin), best)) continue;
    for (size_t i = begin; i < end; ++i) {
      if (logits[i] < kInfinity) {
        if (logits[i] > best) best = logits[i], at = i;
      } else {
        return Fail(ErrorCode::kCorrupt, "the logit of token {} is {}", i, logits[i]);
      }
    }
  }
  if (at == logits.size())
    return Fail(ErrorCode::kCorrupt, "all {} logits are -inf", logits.size());
  return static_cast<TokenId>(at);
}

uint32_t LogitsNeeded(const wire::SamplerSettings& settings, const TokenMask* mask) {
  if (mask != nullptr || settings.logprobs || !IsUsual(settings) || !TakesLogitsAsTheyAre(settings))
    return backend::kAllLogits;
  if (settings.temperature == 0) return 1;
  return settings.top_k <= kMostBest ? settings.top_k : backend::kAllLogits;
}

Result<Sampled> SampleNext(std::span<float> logits, const SampleInput& input,
                           SamplerScratch& scratch) {
  const wire::SamplerSettings& s = input.settings;
  TRY(CheckSettings(s));
  Sampled sampled;
  sampled.state.begun = s.mirostat || input.mask != nullptr;
  RowLogprobs row;
  if (s.logprobs) row = TRY(ReportTop(logits, s.top_logprobs, scratch, sampled.logprobs));
  if (input.mask != nullptr) {
    // What must come is not drawn: it is the same token, and the same state, where it comes without
    // logits.
    if (const auto only = input.mask->Only(input.state.grammar)) {
      sampled.token = *only;
      if (s.mirostat)
        sampled.state.mirostat_mu =
            input.state.begun ? input.state.mirostat_mu : 2 * s.mirostat_tau;
      sampled.state.grammar = input.mask->Next(input.state.grammar, *only);
      if (s.logprobs) sampled.logprobs.sampled.push_back(row.Of(*only));
      return sampled;
    }
  }
  BiasAndMask(logits, input, scratch);
  sampled.token = TRY(IsUsual(s) ? RunUsual(logits, input, scratch)
                                 : RunChain(logits, input, scratch, sampled.state));
  if (s.logprobs) sampled.logprobs.sampled.push_back(row.Of(sampled.token));
  if (input.mask != nullptr)
    sampled.state.grammar = input.mask->Next(input.state.grammar, sampled.token);
  return sampled;
}

Result<TokenId> Sample(std::span<float> logits, std::span<const TokenId> history,
                       const wire::SamplerSettings& settings, uint64_t position,
                       SamplerScratch& scratch) {
  const wire::SamplerState state;
  const SampleInput input = {
      .history = history, .settings = settings, .position = position, .state = state};
  return TRY(SampleNext(logits, input, scratch)).token;
}

}  // namespace exo::engine
