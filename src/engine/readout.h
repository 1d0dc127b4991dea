// What a model makes of a text, as numbers instead of an answer: docs/arithmetic.md, rule 17.
//
// Thread: pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace exo::engine {

// sum[i] += state[i]; an empty `sum` begins with zeros.
void AddState(std::vector<double>& sum, std::span<const float> state);

// Of `rows` states.
std::vector<float> MeanState(std::span<const double> sum, uint32_t rows);

// Cut to `dimensions` (0 or more than there are: all), then of length one. All zero stays so.
void MakeUnit(std::vector<float>& vector, uint32_t dimensions);

}  // namespace exo::engine
