// The sampler beside the real llama.cpp: the same logits and settings through both chains of steps;
// the distributions that are left must be the same.
//
//   llama_samplers PATH/libllama.so [ROUNDS]
//
// Prints a line per setting; exit 1 when distributions differ. They may differ where rounding
// decides whether one more token is kept: in 1 of 200 rounds at most.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "engine/sampler.h"

namespace exo {
namespace {

using engine::SampleInput;
using engine::SamplerScratch;
using wire::SamplerSettings;
using wire::SamplerStep;

// llama.h's plain structs.
struct TokenData {
  int32_t id;
  float logit;
  float p;
};
struct TokenArray {
  TokenData* data;
  size_t size;
  int64_t selected;
  bool sorted;
};
struct Sampler;

class Llama {
 public:
  explicit Llama(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) Fail(dlerror());
  }
  template <class Result, class... Arguments>
  Result Call(const char* name, Arguments... arguments) const {
    void* at = dlsym(handle_, name);
    if (at == nullptr) Fail(name);
    return reinterpret_cast<Result (*)(Arguments...)>(at)(arguments...);
  }
  // What the step is there. The history is told to it.
  Sampler* Make(SamplerStep step, const SamplerSettings& s) const {
    switch (step) {
      case SamplerStep::kPenalties: {
        // The first number is what a window of -1 would mean.
        const auto window = static_cast<int32_t>(s.penalty_window);
        return Call<Sampler*>("llama_sampler_init_penalties", window, window, s.repeat_penalty,
                              s.frequency_penalty, s.presence_penalty);
      }
      case SamplerStep::kDry:
        return Dry(s);
      case SamplerStep::kTopNSigma:
        return Call<Sampler*>("llama_sampler_init_top_n_sigma", s.top_n_sigma);
      case SamplerStep::kTopK:
        return Call<Sampler*>("llama_sampler_init_top_k", static_cast<int32_t>(s.top_k));
      case SamplerStep::kTypicalP:
        return Call<Sampler*>("llama_sampler_init_typical", s.typical_p, size_t{0});
      case SamplerStep::kTopP:
        return Call<Sampler*>("llama_sampler_init_top_p", s.top_p, size_t{0});
      case SamplerStep::kMinP:
        return Call<Sampler*>("llama_sampler_init_min_p", s.min_p, size_t{0});
      case SamplerStep::kXtc:
        return Call<Sampler*>("llama_sampler_init_xtc", s.xtc_probability, s.xtc_threshold,
                              size_t{0}, uint32_t{1});
      case SamplerStep::kTemperature:
        return Call<Sampler*>("llama_sampler_init_temp", s.temperature);
    }
    std::abort();
  }
  void Apply(Sampler* sampler, std::span<const TokenId> history, TokenArray& array) const {
    for (const TokenId token : history) Call<void>("llama_sampler_accept", sampler, token);
    Call<void>("llama_sampler_apply", sampler, &array);
  }
  void Free(Sampler* sampler) const { Call<void>("llama_sampler_free", sampler); }

 private:
  // The function that llama.cpp has for its own tests: breakers as tokens, no vocabulary.
  Sampler* Dry(const SamplerSettings& s) const {
    using Breakers = std::vector<std::vector<int>>;
    Breakers breakers;
    for (const TokenId token : s.dry_break_tokens) breakers.push_back({token});
    std::vector<int> sequence;
    for (const TokenId token : s.dry_break_sequences) {
      if (token >= 0) {
        sequence.push_back(token);
      } else {
        breakers.push_back(std::exchange(sequence, {}));
      }
    }
    return Call<Sampler*, float, float, int32_t, int32_t, const Breakers&>(
        "_Z30llama_sampler_init_dry_testingffiiRKSt6vectorIS_IiSaIiEESaIS1_EE", s.dry_multiplier,
        s.dry_base, static_cast<int32_t>(s.dry_allowed_length), static_cast<int32_t>(s.dry_window),
        breakers);
  }
  [[noreturn]] static void Fail(const std::string& what) {
    fmt::print(stderr, "llama_samplers: {}\n", what);
    std::exit(2);
  }
  void* handle_;
};

using Distribution = std::vector<double>;

Distribution Normal(Distribution weights) {
  double sum = 0;
  for (const double w : weights) sum += w;
  for (double& w : weights) w /= sum;
  return weights;
}
Distribution OfArray(const TokenArray& array, size_t vocab) {
  double best = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < array.size; ++i) best = std::max(best, double{array.data[i].logit});
  Distribution all(vocab, 0.0);
  for (size_t i = 0; i < array.size; ++i)
    all[static_cast<size_t>(array.data[i].id)] = std::exp(array.data[i].logit - best);
  return Normal(std::move(all));
}
std::vector<TokenData> ArrayOf(const std::vector<float>& logits) {
  std::vector<TokenData> data;
  for (size_t i = 0; i < logits.size(); ++i)
    data.push_back({static_cast<int32_t>(i), logits[i], 0});
  return data;
}

Distribution Theirs(const Llama& llama, const std::vector<float>& logits,
                    const std::vector<TokenId>& history, const SamplerSettings& settings) {
  std::vector<TokenData> data = ArrayOf(logits);
  TokenArray array{data.data(), data.size(), -1, false};
  for (const SamplerStep step : settings.order) {
    Sampler* sampler = llama.Make(step, settings);
    llama.Apply(sampler, history, array);
    llama.Free(sampler);
  }
  return OfArray(array, logits.size());
}
// What is left for the draw lies in the scratch.
Distribution Ours(std::vector<float> logits, const std::vector<TokenId>& history,
                  const SamplerSettings& settings, const wire::SamplerState& state) {
  SamplerScratch scratch;
  const size_t vocab = logits.size();
  const auto sampled = engine::SampleNext(
      logits, {.history = history, .settings = settings, .position = 3, .state = state}, scratch);
  if (!sampled) {
    fmt::print(stderr, "{}\n", sampled.error().message);
    std::exit(1);
  }
  Distribution all(vocab, 0.0);
  for (const auto& c : scratch.candidates) all[static_cast<size_t>(c.token)] = double{c.weight};
  return Normal(std::move(all));
}
double Distance(const Distribution& a, const Distribution& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::fabs(a[i] - b[i]);
  return sum / 2;
}

// Like a model's: most of the mass on few tokens, and a wide tail.
std::vector<float> Logits(Rng& rng, size_t vocab) {
  std::vector<float> logits(vocab);
  for (float& x : logits) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += rng.Uniform() - 0.5;
    x = static_cast<float>(sum * 5);
  }
  for (int i = 0; i < 12; ++i) logits[rng.Below(vocab)] += static_cast<float>(rng.Uniform() * 9);
  return logits;
}

struct Case {
  const char* name;
  std::function<void(Rng&, SamplerSettings&)> fill;
};
float Part(Rng& rng, double from, double to) {
  return static_cast<float>(from + rng.Uniform() * (to - from));
}
void FillDry(Rng& rng, SamplerSettings& s) {
  s.dry_multiplier = Part(rng, 0.2, 2);
  s.dry_base = Part(rng, 1.1, 2);
  s.dry_allowed_length = static_cast<uint32_t>(1 + rng.Below(3));
  s.dry_window = static_cast<uint32_t>(8 + rng.Below(80));
  if (rng.Below(2) == 0) s.dry_break_tokens = {0};
  if (rng.Below(2) == 0) s.dry_break_sequences = {1, 2, -1, 3, 3, 1, -1};
  s.order = {SamplerStep::kDry};
}
void FillPenalties(Rng& rng, SamplerSettings& s) {
  s.repeat_penalty = Part(rng, 0.8, 1.6);
  s.frequency_penalty = Part(rng, -0.5, 1);
  s.presence_penalty = Part(rng, -0.5, 1);
  s.penalty_window = static_cast<uint32_t>(1 + rng.Below(90));
  s.order = {SamplerStep::kPenalties};
}
void FillAll(Rng& rng, SamplerSettings& s) {
  FillDry(rng, s);
  FillPenalties(rng, s);
  s.top_k = static_cast<uint32_t>(5 + rng.Below(60));
  // Never both: llama.cpp's typical-p has an entropy of NaN behind a step that only makes logits
  // -inf.
  if (rng.Below(2) == 0) {
    s.top_n_sigma = Part(rng, 1, 4);
  } else {
    s.typical_p = Part(rng, 0.5, 1);
  }
  s.top_p = Part(rng, 0.5, 1);
  s.min_p = Part(rng, 0, 0.1);
  s.xtc_threshold = Part(rng, 0.02, 0.4);
  s.xtc_probability = rng.Below(2) == 0 ? 1 : 0;
  s.temperature = Part(rng, 0.3, 2);
  s.order = {SamplerStep::kPenalties, SamplerStep::kDry,      SamplerStep::kTopNSigma,
             SamplerStep::kTopK,      SamplerStep::kTypicalP, SamplerStep::kTopP,
             SamplerStep::kMinP,      SamplerStep::kXtc,      SamplerStep::kTemperature};
}
void FillShuffled(Rng& rng, SamplerSettings& s) {
  FillAll(rng, s);
  for (size_t i = s.order.size(); i > 1; --i) std::swap(s.order[i - 1], s.order[rng.Below(i)]);
}

std::vector<Case> Cases() {
  const auto one = [](SamplerStep step, float SamplerSettings::* field, double from, double to) {
    return [=](Rng& rng, SamplerSettings& s) {
      s.*field = Part(rng, from, to);
      s.order = {step};
    };
  };
  return {{"penalties", FillPenalties},
          {"dry", FillDry},
          {"top_n_sigma", one(SamplerStep::kTopNSigma, &SamplerSettings::top_n_sigma, 0.5, 4)},
          {"top_k",
           [](Rng& rng, SamplerSettings& s) {
             s.top_k = static_cast<uint32_t>(1 + rng.Below(200));
             s.order = {SamplerStep::kTopK};
           }},
          {"typical_p", one(SamplerStep::kTypicalP, &SamplerSettings::typical_p, 0.05, 0.99)},
          {"top_p", one(SamplerStep::kTopP, &SamplerSettings::top_p, 0.05, 0.99)},
          {"min_p", one(SamplerStep::kMinP, &SamplerSettings::min_p, 0.001, 0.5)},
          {"xtc",
           [](Rng& rng, SamplerSettings& s) {
             s.xtc_probability = 1;
             s.xtc_threshold = Part(rng, 0.005, 0.5);
             s.order = {SamplerStep::kXtc};
           }},
          {"temperature", one(SamplerStep::kTemperature, &SamplerSettings::temperature, 0.1, 2)},
          {"llama-server's order", FillAll},
          {"any order", FillShuffled}};
}

bool Report(const char* name, std::vector<double> distances) {
  std::sort(distances.begin(), distances.end());
  const auto far = static_cast<size_t>(
      std::count_if(distances.begin(), distances.end(), [](double d) { return !(d <= 1e-4); }));
  fmt::print(
      "{}: {} rounds, half the sum of differences {:.1e} (median), {:.1e} (99 of 100), {} "
      "above 1e-4\n",
      name, distances.size(), distances[distances.size() / 2],
      distances[distances.size() * 99 / 100], far);
  return far * 200 <= distances.size();
}

bool Compare(const Llama& llama, const Case& one, int rounds) {
  Rng rng(41);
  std::vector<double> distances;
  for (int round = 0; round < rounds; ++round) {
    const auto logits = Logits(rng, 2000);
    std::vector<TokenId> history(1 + rng.Below(100));
    for (TokenId& token : history) token = static_cast<TokenId>(rng.Below(4));
    SamplerSettings settings = {.temperature = 1};
    one.fill(rng, settings);
    distances.push_back(
        Distance(Ours(logits, history, settings, {}), Theirs(llama, logits, history, settings)));
  }
  return Report(one.name, std::move(distances));
}

// Mirostat chooses and learns in one: theirs chooses, and ours follows with the mu that its rule
// gives for that token.
bool CompareMirostat(const Llama& llama, int rounds) {
  Rng rng(43);
  const SamplerSettings settings = {
      .temperature = 1, .mirostat = true, .mirostat_tau = 4, .mirostat_eta = 0.2f};
  Sampler* sampler = llama.Call<Sampler*>("llama_sampler_init_mirostat_v2", uint32_t{5},
                                          settings.mirostat_tau, settings.mirostat_eta);
  wire::SamplerState state;
  double mu = 2.0 * double{settings.mirostat_tau};
  std::vector<double> distances;
  for (int round = 0; round < rounds; ++round) {
    const auto logits = Logits(rng, 2000);
    std::vector<TokenData> data = ArrayOf(logits);
    TokenArray array{data.data(), data.size(), -1, false};
    llama.Apply(sampler, {}, array);
    const Distribution ours = Ours(logits, {}, settings, state);
    distances.push_back(Distance(ours, OfArray(array, logits.size())));
    const auto chosen = static_cast<size_t>(array.data[array.selected].id);
    mu -=
        double{settings.mirostat_eta} * (-std::log2(ours[chosen]) - double{settings.mirostat_tau});
    state = {.begun = true, .mirostat_mu = static_cast<float>(mu)};
  }
  llama.Free(sampler);
  return Report("mirostat 2, one answer", std::move(distances));
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: llama_samplers PATH/libllama.so [ROUNDS]\n");
    return 2;
  }
  const exo::Llama llama(argv[1]);
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 400;
  bool same = true;
  for (const exo::Case& one : exo::Cases()) same = exo::Compare(llama, one, rounds) && same;
  same = exo::CompareMirostat(llama, rounds) && same;
  if (!same) fmt::print(stderr, "distributions differ from llama.cpp's\n");
  return same ? 0 : 1;
}
