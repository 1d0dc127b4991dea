// Steps that take candidates away, and their order.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "base/random.h"
#include "engine/sampler_steps.h"
#include "kernels/elementary.h"

namespace exo::engine {
namespace {

using wire::SamplerStep;

// The first prefix that top-p sorts: holds 0.95 of the probability in nearly every step.
constexpr size_t kFirstPrefix = 128;
// Before temperature is known to come: a little more than the tail, which temperature then cuts.
constexpr float kChainTail = kSamplerTail + 1;
constexpr float kBitsPerNat = 0x1.715476p0f;  // 1 / ln 2
constexpr std::array kUsualOrder = {
    SamplerStep::kPenalties,   SamplerStep::kDry,  SamplerStep::kTopNSigma,
    SamplerStep::kTemperature, SamplerStep::kTopK, SamplerStep::kTypicalP,
    SamplerStep::kTopP,        SamplerStep::kMinP, SamplerStep::kXtc};

// Steps over logits as long as none has taken a candidate away, then over the list of those that
// are left. A candidate's logit is before temperature, so that nothing is rounded twice; its weight
// is valid when `weighed_`.
class Chain {
 public:
  Chain(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch)
      : logits_(logits),
        input_(input),
        settings_(input.settings),
        scratch_(scratch),
        list_(scratch.candidates) {
    list_.clear();
  }

  void Run(SamplerStep step) {
    if (bad_) return;
    switch (step) {
      case SamplerStep::kPenalties:
        return OnLogits([&] { Penalize(logits_, input_, scratch_.window); });
      case SamplerStep::kDry:
        return OnLogits([&] { PenalizeRepetition(logits_, input_, scratch_); });
      case SamplerStep::kTopNSigma:
        return TopNSigma();
      case SamplerStep::kTopK:
        return TopK();
      case SamplerStep::kTypicalP:
        return TypicalP();
      case SamplerStep::kTopP:
        return TopP();
      case SamplerStep::kMinP:
        return MinP();
      case SamplerStep::kXtc:
        return Xtc();
      case SamplerStep::kTemperature:
        return Temperature();
    }
  }
  Result<TokenId> Last() {
    Weigh();
    if (bad_) return std::unexpected(*bad_);
    return Draw(list_, Uniform(input_, 0));
  }
  // Baskaran et al. 2020, its second algorithm: what surprises more than mu bits is not drawn, and
  // mu follows the surprise of what was.
  Result<TokenId> Mirostat(wire::SamplerState& state) {
    const float mu = input_.state.begun ? input_.state.mirostat_mu : 2.0f * settings_.mirostat_tau;
    Sort();
    Weigh();
    if (bad_) return std::unexpected(*bad_);
    size_t kept = 1;
    const float log_sum = kernels::Log(SumOf(list_));
    while (kept < list_.size() && Surprise(list_[kept], log_sum) <= mu) ++kept;
    list_.resize(kept);
    const TokenId token = Draw(list_, Uniform(input_, 0));
    const float kept_sum = kernels::Log(SumOf(list_));
    const auto chosen = std::find_if(list_.begin(), list_.end(),
                                     [&](const Candidate& c) { return c.token == token; });
    const float error = Surprise(*chosen, kept_sum) - settings_.mirostat_tau;
    const float step = settings_.mirostat_eta * error;
    state.mirostat_mu = mu - step;
    return token;
  }

 private:
  // ---- the list
  void NeedList() {
    if (listed_) return;
    listed_ = true;
    const auto at = Argmax(logits_);
    if (!at) return GiveUp(at.error());
    const float best = logits_[static_cast<size_t>(*at)];
    const float tail = kChainTail * std::max(1.0f, settings_.temperature);
    for (size_t i = 0; i < logits_.size(); ++i) {
      if (logits_[i] - best >= -tail) list_.push_back({logits_[i], 0, static_cast<TokenId>(i)});
    }
  }
  // Logits that are none (penalties or a temperature of hostile size): nothing may be sorted or
  // cut by them.
  void GiveUp(Error error) {
    bad_ = std::move(error);
    list_.assign(1, Candidate{});
  }
  // False: the best candidate's logit is infinite, so that differences to it are not numbers.
  bool Comparable(float best) {
    if (std::isfinite(best)) return true;
    GiveUp({ErrorCode::kCorrupt, fmt::format("the best logit becomes {}", best)});
    return false;
  }
  float Best() const { return std::min_element(list_.begin(), list_.end(), Better)->logit; }
  float Scaled(const Candidate& c, float best) const { return (c.logit - best) / temperature_; }
  void Weigh() {
    NeedList();
    if (std::exchange(weighed_, true)) return;
    best_ = Best();
    if (!Comparable(best_)) best_ = 0;
    for (Candidate& c : list_) c.weight = kernels::Exp(Scaled(c, best_));
  }
  void Sort() {
    NeedList();
    if (!std::exchange(sorted_, true)) std::sort(list_.begin(), list_.end(), Better);
  }
  // -log of the probability, in bits.
  float Surprise(const Candidate& c, float log_sum) const {
    return (log_sum - Scaled(c, best_)) * kBitsPerNat;
  }
  // A step on logits, also when only some candidates are left: they take their logits there and
  // back.
  template <class Step>
  void OnLogits(Step step) {
    if (!listed_) return step();
    for (const Candidate& c : list_) logits_[static_cast<size_t>(c.token)] = c.logit / temperature_;
    step();
    temperature_ = 1;
    for (Candidate& c : list_) c.logit = logits_[static_cast<size_t>(c.token)];
    if (auto at = Argmax(logits_); !at) return GiveUp(at.error());
    weighed_ = false;
    if (std::exchange(sorted_, false)) Sort();
  }

  // ---- the steps
  void TopNSigma() {
    if (settings_.top_n_sigma == 0) return;
    if (!listed_) return CutBySigma(logits_, settings_.top_n_sigma);
    std::vector<float>& values = scratch_.values;
    values.clear();
    for (const Candidate& c : list_) values.push_back(c.logit / temperature_);
    if (!Comparable(*std::ranges::max_element(values))) return;
    CutBySigma(values, settings_.top_n_sigma);
    size_t at = 0;
    std::erase_if(list_, [&](const Candidate&) {
      return values[at++] == -std::numeric_limits<float>::infinity();
    });
  }
  void TopK() {
    if (settings_.top_k == 0) return;
    NeedList();
    const size_t keep = std::min<size_t>(list_.size(), settings_.top_k);
    if (!std::exchange(sorted_, true)) SortBest(list_, 0, keep);
    list_.resize(keep);
  }
  // What is about as surprising as the distribution lets expect (Meister et al. 2022).
  void TypicalP() {
    if (settings_.typical_p >= 1) return;
    Sort();
    Weigh();
    const float sum = SumOf(list_);
    const float log_sum = kernels::Log(sum);
    float entropy = 0;
    for (const Candidate& c : list_) {
      const float part = (c.weight / sum) * (log_sum - Scaled(c, best_));
      entropy = entropy + part;
    }
    auto& ranked = scratch_.ranked;
    ranked.clear();
    for (const Candidate& c : list_) {
      const float off = (log_sum - Scaled(c, best_)) - entropy;
      ranked.emplace_back(off < 0 ? -off : off, c);
    }
    std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return a.first < b.first || (a.first == b.first && Better(a.second, b.second));
    });
    list_.clear();
    float mass = 0;
    for (const auto& [off, c] : ranked) {
      list_.push_back(c);
      mass = mass + c.weight / sum;
      if (mass > settings_.typical_p) break;
    }
    sorted_ = weighed_ = false;  // the best one may be gone
    Sort();
  }
  void TopP() {
    if (settings_.top_p >= 1) return;
    Weigh();
    KeepTopP(list_, sorted_, settings_.top_p);
    sorted_ = true;
  }
  void MinP() {
    if (settings_.min_p == 0) return;
    Weigh();
    std::erase_if(list_, [&](const Candidate& c) { return c.weight < settings_.min_p; });
  }
  // Excludes top choices (p-e-w, text-generation-webui #6335): of those that have at least the
  // threshold's probability only the last one stays.
  void Xtc() {
    const uint32_t draw = ++draws_;
    NeedList();
    if (settings_.xtc_probability == 0 || settings_.xtc_threshold > 0.5f || list_.size() < 2)
      return;
    if (Uniform(input_, draw) >= settings_.xtc_probability) return;
    Weigh();
    const float sum = SumOf(list_);
    const auto likely = [&](const Candidate& c) {
      return c.weight / sum >= settings_.xtc_threshold;
    };
    const Candidate* last = nullptr;
    for (const Candidate& c : list_) {
      if (likely(c) && (last == nullptr || Better(*last, c))) last = &c;
    }
    if (last == nullptr) return;
    const TokenId stays = last->token;
    std::erase_if(list_, [&](const Candidate& c) { return c.token != stays && likely(c); });
    weighed_ = false;
  }
  void Temperature() {
    NeedList();
    if (settings_.temperature == 0) {
      list_.assign(1, Candidate(*std::min_element(list_.begin(), list_.end(), Better)));
      return;
    }
    if (temperature_ != 1) {
      for (Candidate& c : list_) c.logit = c.logit / temperature_;
    }
    temperature_ = settings_.temperature;
    weighed_ = false;
    const float best = Best();
    if (!Comparable(best)) return;
    std::erase_if(list_, [&](const Candidate& c) { return !(Scaled(c, best) >= -kSamplerTail); });
  }

  std::span<float> logits_;
  const SampleInput& input_;
  const wire::SamplerSettings& settings_;
  SamplerScratch& scratch_;
  std::vector<Candidate>& list_;
  float temperature_ = 1;  // that candidates' logits are still to be divided by
  float best_ = 0;         // of the weights
  uint32_t draws_ = 0;
  std::optional<Error> bad_;
  bool listed_ = false, sorted_ = false, weighed_ = false;
};

}  // namespace

bool Better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

float SumOf(std::span<const Candidate> candidates) {
  float sum = 0;
  for (const Candidate& c : candidates) sum = sum + c.weight;
  return sum;
}

void SortBest(std::vector<Candidate>& all, size_t from, size_t count) {
  const auto begin = all.begin() + static_cast<ptrdiff_t>(from);
  const auto middle = all.begin() + static_cast<ptrdiff_t>(count);
  if (count < all.size()) std::nth_element(begin, middle, all.end(), Better);
  std::sort(begin, middle, Better);
}

// The order is total, so that growing the sorted part step by step gives the prefix of a full sort.
void KeepTopP(std::vector<Candidate>& all, bool sorted, float top_p) {
  const float wanted = top_p * SumOf(all);
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

float Uniform(const SampleInput& input, uint32_t draw) {
  const uint64_t stream = uint64_t{input.settings.choice} << 32 | draw;
  return UniformFloat(input.settings.seed, input.position, stream);
}

TokenId Draw(std::span<const Candidate> kept, float uniform) {
  const float target = uniform * SumOf(kept);
  float mass = 0;
  for (const Candidate& c : kept) {
    mass = mass + c.weight;
    if (mass > target) return c.token;
  }
  return kept.back().token;
}

Result<TokenId> RunChain(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch,
                         wire::SamplerState& state) {
  Chain chain(logits, input, scratch);
  const wire::SamplerSettings& s = input.settings;
  if (s.mirostat) {
    chain.Run(SamplerStep::kTemperature);
    return chain.Mirostat(state);
  }
  if (s.order.empty()) {
    for (const SamplerStep step : kUsualOrder) chain.Run(step);
  } else {
    for (const SamplerStep step : s.order) chain.Run(step);
  }
  return chain.Last();
}

}  // namespace exo::engine
