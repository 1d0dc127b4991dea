// Which tokens may come next, when a request's text must have a form (a grammar, a JSON schema).
// What is behind it is not the sampler's business.
//
// Pure: everything that an answer is at lies in `state`, which travels with the request
// (wire::SamplerState::grammar), so that an answer goes on at another lead, and the rows of a
// verify window are sampled before it is known which of them count. Thread: any, several at once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"

namespace exo::engine {

class TokenMask {
 public:
  virtual ~TokenMask() = default;
  // Sets bit t % 64 of allowed[t / 64] for every token t that may come after `state` (empty: at the
  // beginning). `allowed` [ceil(vocab / 64)] is zero; a mask that allows nothing ends the request.
  virtual void Allow(std::span<const uint8_t> state, std::span<uint64_t> allowed) const = 0;
  // The state after an allowed token; at most wire::kMaxGrammarState bytes.
  virtual std::vector<uint8_t> Next(std::span<const uint8_t> state, TokenId token) const = 0;
  // The token that must come, where there is one: it need not be sampled.
  virtual std::optional<TokenId> Only(std::span<const uint8_t> /*state*/) const {
    return std::nullopt;
  }
  // The text is complete and nothing can be added to it.
  virtual bool Ended(std::span<const uint8_t> /*state*/) const { return false; }
  // The next question will be about this state: time to look for the answer beside other work.
  virtual void Expect(std::span<const uint8_t> /*state*/) const {}
};

}  // namespace exo::engine
