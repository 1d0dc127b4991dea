// Which rows of a step go to which experts. Pure; the same for a row whatever rows stand beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace exo::backend {

// The chosen.size() experts with the largest weights, ascending by index; equal weights go to the
// lower one. With `renormalize` their weights are divided by their sum (rule 6). weights [experts],
// chosen_weights [chosen.size()]; all NaN stays all NaN.
void ChooseExperts(std::span<const float> weights, bool renormalize, std::span<uint32_t> chosen,
                   std::span<float> chosen_weights);

// A step's slots: one for each row and expert that it goes to, ordered by expert, then by row, so
// that an expert's weights are read once for all of its rows.
struct Routing {
  size_t used = 0;               // experts of a row
  std::vector<uint32_t> chosen;  // [rows][used], ascending
  std::vector<float> weights;    // [rows][used]
  std::vector<uint32_t> begin;   // [experts + 1]: slots of expert e are [begin[e], begin[e + 1])
  std::vector<uint32_t> slot;    // [rows][used]
  std::vector<uint32_t> row_of;  // by slot
  std::vector<uint32_t> expert_of;

  void Resize(size_t rows, size_t experts_used);
  // Fills the slots from `chosen`.
  void Group(size_t experts);
  size_t slots() const { return chosen.size(); }
  size_t SlotsOf(size_t expert) const { return begin[expert + 1] - begin[expert]; }
};

}  // namespace exo::backend
