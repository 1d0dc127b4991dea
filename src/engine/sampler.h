// From logits to a token: a pure function of logits, history, settings (with the seed) and
// position. The same inputs give the same token on every device, so that another device can
// continue an answer.
//
// Rules (docs/arithmetic.md, rules 3, 6 and 8): binary32, one operation after the other, exp from
// kernels/elementary.h. Order: penalties, temperature, top-k, top-p, min-p, draw. "Best first" is
// by logit descending, then by index ascending; every tie goes to the lower index. Sums run in the
// order of the draw: best first when top-k or top-p is on, else by index. Thread: pure, any thread;
// a scratch belongs to one caller at a time.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
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
  std::vector<TokenId> window;
};

// The token with the largest logit; ties to the lower index.
// Errors: kInvalid without logits, kCorrupt for NaN or +inf (names the index) and when all are
// -inf.
Result<TokenId> Argmax(std::span<const float> logits);

// Draws the token for `position` (index of the token in its sequence, prompt included).
// `logits` [vocab] f32 are changed (penalties). `history` is every token so far, prompt included;
// penalties look at its last settings.penalty_window tokens.
// Errors: those of Argmax; kInvalid for settings outside their ranges.
// Cost: two passes over the logits and an exp for each within the tail (0.5 ms for 150,000 of
// them); top-k and top-p sort only what they keep.
Result<TokenId> Sample(std::span<float> logits, std::span<const TokenId> history,
                       const wire::SamplerSettings& settings, uint64_t position,
                       SamplerScratch& scratch);

}  // namespace exo::engine
