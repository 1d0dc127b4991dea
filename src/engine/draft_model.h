// A small model that guesses what a large one will say: a chain of its likeliest tokens, computed
// for several requests at once. It keeps a sequence of its own for each request and follows what
// was accepted. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding"
// (2023); here a guess stands only where it is the token that is sampled, so no answer changes.
//
// Thread: the stage thread.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/units.h"
#include "engine/local.h"
#include "engine/speculation.h"

namespace exo::engine {

class DraftModel {
 public:
  // `positions`: KV that its sequences may hold in all; those used least lately give way.
  DraftModel(std::unique_ptr<LocalModel> model, uint64_t positions)
      : model_(std::move(model)), positions_(positions) {}

  struct Guess {
    RequestId request;
    std::vector<TokenId> tokens;
  };
  // Guesses for those requests whose text the model has read; of the others it reads a chunk, and
  // guesses another time. Errors: those of the model.
  Result<std::vector<Guess>> Draft(std::span<const DraftWish> wishes);
  // Drops the sequences of requests that are not among `alive`.
  void Keep(const std::vector<RequestId>& alive);

  // What a guessed token took lately, for one request; 0: none yet.
  Time per_token() const { return per_token_; }

 private:
  struct Sequence {
    backend::SequenceId id = 0;
    std::vector<TokenId> tokens;  // whose KV it holds
    uint64_t used = 0;
  };
  Result<bool> CatchUp(const DraftWish& wish);
  void MakeRoom(uint64_t positions, const RequestId& but);
  void Close(std::map<RequestId, Sequence>::iterator at);

  std::unique_ptr<LocalModel> model_;
  const uint64_t positions_;
  std::map<RequestId, Sequence> sequences_;
  uint64_t held_ = 0;  // positions
  backend::SequenceId next_id_ = 1;
  uint64_t clock_ = 0;
  Time per_token_{};
  std::vector<float> logits_;
};

}  // namespace exo::engine
