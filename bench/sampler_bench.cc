// Time of one token's sampling over a vocabulary of 151,936 (Qwen) or 32,000, one thread. Names:
// settings/vocabulary. What it is compared with in pairs: the same program of another commit.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "engine/sampler.h"

namespace exo::engine {
namespace {

// Like a model's: most of the mass on few tokens.
std::vector<float> Logits(size_t vocab) {
  Rng rng(1);
  std::vector<float> logits(vocab);
  for (float& x : logits) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += rng.Uniform() - 0.5;
    x = static_cast<float>(sum * 5);
  }
  for (int i = 0; i < 40; ++i) logits[rng.Below(vocab)] += static_cast<float>(rng.Uniform() * 9);
  return logits;
}

void Run(benchmark::State& state, const wire::SamplerSettings& settings, size_t vocab) {
  const std::vector<float> logits = Logits(vocab);
  std::vector<float> row;
  std::vector<TokenId> history(2000);
  Rng rng(2);
  for (TokenId& token : history) token = static_cast<TokenId>(rng.Below(300));
  SamplerScratch scratch;
  const wire::SamplerState none;
  uint64_t position = 0;
  for (auto _ : state) {
    row = logits;  // sampling changes it
    const auto token = SampleNext(
        row, {.history = history, .settings = settings, .position = ++position, .state = none},
        scratch);
    benchmark::DoNotOptimize(token->token);
  }
}

void Register() {
  using enum wire::SamplerStep;
  const std::vector<std::pair<std::string, wire::SamplerSettings>> all = {
      {"greedy", {}},
      {"greedy_logprobs", {.logprobs = true}},
      {"greedy_logprobs_20", {.logprobs = true, .top_logprobs = 20}},
      {"temperature", {.temperature = 0.8f, .seed = 1}},
      {"top_p", {.temperature = 0.8f, .top_p = 0.95f, .seed = 1}},
      {"top_k_top_p", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = 1}},
      {"penalties", {.temperature = 0.8f, .top_k = 40, .repeat_penalty = 1.1f, .seed = 1}},
      {"dry", {.temperature = 0.8f, .top_k = 40, .seed = 1, .dry_multiplier = 0.8f}},
      {"typical_p", {.temperature = 0.8f, .seed = 1, .typical_p = 0.9f}},
      {"top_n_sigma", {.temperature = 0.8f, .seed = 1, .top_n_sigma = 1}},
      {"xtc", {.temperature = 0.8f, .seed = 1, .xtc_probability = 0.5f}},
      {"mirostat", {.temperature = 0.8f, .seed = 1, .mirostat = true}},
      {"llama_order",
       {.temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .seed = 1,
        .order = {kPenalties, kDry, kTopNSigma, kTopK, kTypicalP, kTopP, kMinP, kXtc,
                  kTemperature}}}};
  for (const auto& [name, settings] : all) {
    for (const size_t vocab : {size_t{32000}, size_t{151936}}) {
      benchmark::RegisterBenchmark(
          (name + "/" + std::to_string(vocab)).c_str(),
          [settings = settings, vocab](benchmark::State& state) { Run(state, settings, vocab); })
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace
}  // namespace exo::engine

int main(int argc, char** argv) {
  exo::engine::Register();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
