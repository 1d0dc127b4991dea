#include "backend/cpu/routing.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/elementary.h"

namespace exo::backend {

void ChooseExperts(std::span<const float> weights, bool renormalize, std::span<uint32_t> chosen,
                   std::span<float> chosen_weights) {
  CHECK(chosen.size() <= weights.size());
  // Insertion into the list of the best so far, largest first: a later expert must be larger to
  // pass one.
  size_t held = 0;
  for (uint32_t expert = 0; expert < weights.size(); ++expert) {
    size_t at = held;
    while (at > 0 && weights[expert] > weights[chosen[at - 1]]) --at;
    if (at == chosen.size()) continue;
    if (held < chosen.size()) ++held;
    for (size_t i = held - 1; i > at; --i) chosen[i] = chosen[i - 1];
    chosen[at] = expert;
  }
  std::ranges::sort(chosen);
  for (size_t i = 0; i < chosen.size(); ++i) chosen_weights[i] = weights[chosen[i]];
  if (!renormalize) return;
  const float sum = kernels::RowSum(chosen_weights.data(), chosen_weights.size());
  for (float& weight : chosen_weights) weight = weight / sum;
}

void Routing::Resize(size_t rows, size_t experts_used) {
  used = experts_used;
  const size_t slots = rows * used;
  for (auto* array : {&chosen, &slot, &row_of, &expert_of}) array->resize(slots);
  weights.resize(slots);
}

void Routing::Group(size_t experts) {
  begin.assign(experts + 1, 0);
  for (const uint32_t expert : chosen) ++begin[expert + 1];
  for (size_t expert = 0; expert < experts; ++expert) begin[expert + 1] += begin[expert];
  std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const uint32_t at = next[chosen[i]]++;
    slot[i] = at;
    row_of[at] = static_cast<uint32_t>(i / used);
    expert_of[at] = chosen[i];
  }
}

}  // namespace exo::backend
