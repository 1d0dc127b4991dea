// A recorded text computed as an answer is: the whole data plane of one device (LeadLoop,
// StageWorker, backend) runs as in serving, sampling included, but the token that goes on is the
// recorded one. So speed can be measured on real text with any weights, also random ones, which
// draft nothing that would be accepted.
//
// Thread: one caller at a time.
#pragma once

#include <memory>
#include <vector>

#include "engine/lead.h"
#include "engine/stage_worker.h"

namespace exo::engine {

struct ReplayRun {
  double prompt_seconds = 0;  // to the first token
  double answer_seconds = 0;  // for the others
  LeadStats stats;
};

class Replay {
 public:
  // `compute` holds all layers and the lead's part.
  Replay(std::shared_ptr<const model::ModelConfig> config,
         std::unique_ptr<backend::StageCompute> compute, uint32_t chunk);
  // tokens: `prompt` of them, then the answer, two at least. `lead` says what is switched on.
  // Errors: kInvalid for tokens outside the vocabulary and too few of them; those of the backend.
  Result<ReplayRun> Run(const std::vector<TokenId>& tokens, uint32_t prompt, LeadOptions lead);

 private:
  const std::shared_ptr<const model::ModelConfig> config_;
  StageWorker stage_;
  const uint32_t chunk_;
  uint8_t runs_ = 0;
};

}  // namespace exo::engine
