// The sampler's steps, one by one. Private to sampler.cc, sampler_logits.cc and sampler_chain.cc:
// what may call them in which order is sampler.h's.
#pragma once

#include <span>
#include <vector>

#include "engine/sampler.h"

namespace exo::engine {

using Candidate = SamplerScratch::Candidate;

// ---- on all logits [vocab] (sampler_logits.cc)

// Adds the biases, then takes away what the mask does not allow. Biases of tokens outside the
// vocabulary are ignored.
void BiasAndMask(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch);
// One penalty per distinct token of the window: repeat first, then frequency by count, then
// presence. Source: llama.cpp's penalties (Keskar et al. 2019 for repeat, OpenAI for the others).
void Penalize(std::span<float> logits, const SampleInput& input, std::vector<TokenId>& window);
// "Don't repeat yourself": the longer the repetition that a token would go on with, the more its
// logit is lowered: multiplier * base^(length - allowed_length). Source: p-e-w, text-generation-
// webui #5677, as in llama.cpp. Cost: linear in the window.
void PenalizeRepetition(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch);
// -inf for what lies more than n standard deviations of the finite values below the largest.
// Source: Tang et al. 2024, as in llama.cpp.
void CutBySigma(std::span<float> values, float n);

// ---- on candidates (sampler_chain.cc)

bool Better(const Candidate& a, const Candidate& b);
float SumOf(std::span<const Candidate> candidates);
// Puts the best of [from, ...) in front, up to `count` in all, in order.
void SortBest(std::vector<Candidate>& all, size_t from, size_t count);
// The shortest prefix, best first, that holds top_p of the sum.
void KeepTopP(std::vector<Candidate>& all, bool sorted, float top_p);
// `draw`: the how manieth random number of the token; 0 is the token's own.
float Uniform(const SampleInput& input, uint32_t draw);
TokenId Draw(std::span<const Candidate> kept, float uniform);

// Logits that BiasAndMask has seen to a token, by input.settings.order or Mirostat. `state` is
// changed by Mirostat alone.
Result<TokenId> RunChain(std::span<float> logits, const SampleInput& input, SamplerScratch& scratch,
                         wire::SamplerState& state);

}  // namespace exo::engine
