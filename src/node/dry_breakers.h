// The tokens at which DRY's repetitions end, from the texts that the client names.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer.h"

namespace exo::node {

// As wire::SamplerSettings has them.
struct DryBreakers {
  std::vector<TokenId> tokens;  // whose text contains a breaker; ascending
  std::vector<TokenId>
      sequences;  // that begin with a token which ends in a part of one; -1 behind each
};

// A breaker has at most so many bytes, and the part of it behind a token so many tokens.
inline constexpr size_t kMaxDryBreakerBytes = 40;
inline constexpr size_t kMaxDryBreakerTail = 20;

// Breakers are not empty. Errors: kInvalid (more tokens than a request may have).
// Cost: reads the whole vocabulary (10 to 20 ms for 150,000 tokens). Source: llama.cpp.
Result<DryBreakers> FindDryBreakers(const model::Tokenizer& tokenizer,
                                    std::span<const std::string> breakers);

}  // namespace exo::node
