#include "service/timings.h"

namespace exo::service {
namespace {

double Over(double a, double b) {
  return b > 0 ? a / b : 0;
}

}  // namespace

// llama-server's field names; the first token belongs to the prompt's time.
Json TimingsJson(const node::GenerateStats& stats) {
  const uint32_t prompt = stats.prompt_tokens - stats.cached_tokens;  // what was computed
  const double predicted = stats.completion_tokens;
  const double prompt_ms = 1000 * Over(prompt, stats.prompt_per_second);
  const double predicted_ms =
      1000 * Over(predicted > 1 ? predicted - 1 : 0, stats.tokens_per_second);
  return {{"cache_n", stats.cached_tokens},
          {"prompt_n", prompt},
          {"prompt_ms", prompt_ms},
          {"prompt_per_token_ms", Over(prompt_ms, prompt)},
          {"prompt_per_second", stats.prompt_per_second},
          {"predicted_n", stats.completion_tokens},
          {"draft_n", stats.drafted_tokens},
          {"draft_n_accepted", stats.accepted_tokens},
          {"predicted_ms", predicted_ms},
          {"predicted_per_token_ms", Over(1000, stats.tokens_per_second)},
          {"predicted_per_second", stats.tokens_per_second}};
}

}  // namespace exo::service
