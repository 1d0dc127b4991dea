// From logits to a token: a pure function of logits, history, settings (with seed and choice),
// position and the state that the answer's former tokens left. The same inputs give the same token
// on every device, so that another device can continue an answer, and one row of a verify window is
// sampled like any other.
//
// Rules (docs/arithmetic.md, rules 1, 6, 8, 15 and 16): binary32, one operation after the other,
// exp and log from kernels/elementary.h. Without settings.order: logit bias and mask, penalties,
// DRY, top-n-sigma, temperature, top-k, typical-p, top-p, min-p, XTC, draw. With it: logit bias and
// mask, the steps it names, draw. With Mirostat: logit bias and mask, temperature, Mirostat 2.
// "Best first" is by logit descending, then by index ascending; every tie goes to the lower index.
// Sums run in the order of the draw: best first when a step has sorted, else by index.
//
// Thread: pure, any thread; a scratch belongs to one caller at a time.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/token_mask.h"
#include "wire/messages.h"

namespace exo::engine {

// Tokens whose scaled logit is more than this below the best are never drawn: together they hold
// less than 2^-17 of the probability for vocabularies up to 200,000.
inline constexpr float kSamplerTail = 24.0f;

// Memory that lives from token to token: nothing is allocated once it has grown to the vocabulary.
struct SamplerScratch {
  struct Candidate {
    float logit = 0;   // after penalties
    float weight = 0;  // exp((logit - best) / temperature)
    TokenId token = 0;
  };
  std::vector<Candidate> candidates;
  std::vector<TokenId> window;    // of penalties
  std::vector<uint32_t> repeats;  // of DRY
  std::vector<std::pair<TokenId, uint32_t>> longest;
  std::vector<std::pair<float, Candidate>> ranked;  // of typical-p
  std::vector<float> values;                        // of top-n-sigma behind other steps
  std::vector<float> raw;                           // the row as it came, for logprobs
  std::vector<uint64_t> allowed;                    // by the mask
};

// What decides the token beside the logits.
struct SampleInput {
  std::span<const TokenId> history;  // every token so far, prompt included
  const wire::SamplerSettings& settings;
  uint64_t position = 0;  // index of the token in its sequence, prompt included
  const wire::SamplerState& state;
  const TokenMask* mask = nullptr;  // null: every token may come
};
struct Sampled {
  TokenId token = 0;
  wire::SamplerState state;  // after it; counts only when the token is accepted
  wire::Logprobs logprobs;   // of this token, when settings.logprobs
};

// The token with the largest logit; ties to the lower index.
// Errors: kInvalid without logits, kCorrupt for NaN or +inf (names the index) and when all are
// -inf.
Result<TokenId> Argmax(std::span<const float> logits);

// How many of the largest logits decide the next token, ties to the lower index: others may as well
// be -inf. backend::kAllLogits: all do.
uint32_t LogitsNeeded(const wire::SamplerSettings& settings, const TokenMask* mask);

// Chooses the next token. `logits` [vocab] f32 are changed.
// Errors: those of Argmax (all -inf: also a mask or biases that allow nothing); kInvalid for
// settings outside their ranges.
// Cost: two passes over the logits and an exp for each within the tail (0.5 ms for 150,000 of
// them); top-k and top-p sort only what they keep. Logprobs: an exp more for each.
Result<Sampled> SampleNext(std::span<float> logits, const SampleInput& input,
                           SamplerScratch& scratch);

// The same without state, mask and logprobs.
Result<TokenId> Sample(std::span<float> logits, std::span<const TokenId> history,
                       const wire::SamplerSettings& settings, uint64_t position,
                       SamplerScratch& scratch);

}  // namespace exo::engine
