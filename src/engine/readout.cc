#include "engine/readout.h"

#include <cmath>

#include "base/check.h"

namespace exo::engine {

void AddState(std::vector<double>& sum, std::span<const float> state) {
  if (sum.empty()) sum.resize(state.size());
  CHECK_EQ(sum.size(), state.size());
  for (size_t i = 0; i < state.size(); ++i) sum[i] += state[i];
}

std::vector<float> MeanState(std::span<const double> sum, uint32_t rows) {
  std::vector<float> mean;
  mean.reserve(sum.size());
  for (const double value : sum) mean.push_back(static_cast<float>(value / rows));
  return mean;
}

void MakeUnit(std::vector<float>& vector, uint32_t dimensions) {
  if (dimensions > 0 && dimensions < vector.size()) vector.resize(dimensions);
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * value;
  if (squares == 0) return;
  const double length = std::sqrt(squares);
  for (float& value : vector) value = static_cast<float>(value / length);
}

}  // namespace exo::engine
