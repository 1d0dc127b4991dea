#include "engine/chunk_size.h"

#include <algorithm>
#include <cmath>

namespace exo::engine {
namespace {

// The part of a new figure in its moving average: rows late in a prompt cost more than early ones.
constexpr double kNewestStep = 0.25;
// Steps of so few rows take as long as one row.
constexpr uint32_t kFewRows = 8;
// Reading the weights takes about as long as so many rows, until a step of few rows was measured.
constexpr double kReadingAsRows = 8;
// Smaller chunks gain nothing: their rows no longer share what reading costs.
constexpr uint32_t kLeastChunk = 32;

void Average(double& average, double value) {
  average = average == 0 ? value : average + kNewestStep * (value - average);
}

// One after the other: of the shards of a group, which compute together, the slowest.
std::vector<wire::StageTime> OnePerGroup(std::span<const wire::StageTime> times) {
  std::vector<wire::StageTime> groups;
  for (const wire::StageTime& time : times) {
    if (!groups.empty() && time.layer_begin < time.layer_end &&
        time.layer_begin == groups.back().layer_begin &&
        time.layer_end == groups.back().layer_end) {
      groups.back().microseconds = std::max(groups.back().microseconds, time.microseconds);
    } else {
      groups.push_back(time);
    }
  }
  return groups;
}

}  // namespace

void ChunkSize::Learn(uint32_t rows, std::span<const wire::StageTime> of_stages) {
  const std::vector<wire::StageTime> times = OnePerGroup(of_stages);
  if (rows == 0 || times.size() < 2) return;
  stages_.resize(times.size());
  const auto seconds = [&](size_t i) { return static_cast<double>(times[i].microseconds) * 1e-6; };
  if (rows <= kFewRows) {
    for (size_t i = 0; i < times.size(); ++i) Average(stages_[i].few, seconds(i));
    return;
  }
  if (rows < kLeastChunk) return;
  auto size = std::ranges::find(sizes_, rows);
  if (size == sizes_.end()) size = std::ranges::find(sizes_, 0u);
  if (size == sizes_.end()) return;  // ends of prompts have any size
  *size = rows;
  const auto at = static_cast<size_t>(size - sizes_.begin());
  for (size_t i = 0; i < times.size(); ++i) Average(stages_[i].whole[at], seconds(i));
}

// Measured, or from the measured size next to it.
double ChunkSize::SecondsOf(const Stage& stage, uint32_t rows) const {
  double seconds = 0, nearest = INFINITY;
  for (size_t i = 0; i < kSizes; ++i) {
    if (sizes_[i] == 0) continue;
    const double known = sizes_[i];
    const double distance = std::abs(std::log(known / rows));
    if (distance >= nearest) continue;
    nearest = distance;
    seconds = stage.few > 0 ? stage.few + (stage.whole[i] - stage.few) * rows / known
                            : stage.whole[i] * (rows + kReadingAsRows) / (known + kReadingAsRows);
  }
  return seconds;
}

uint32_t ChunkSize::RowsFor(uint32_t pending, uint32_t most) const {
  if (stages_.size() < 2 || sizes_[0] == 0) return most;
  uint32_t best = most;
  double least = INFINITY;
  for (uint32_t rows = most; rows >= std::max(kLeastChunk, most / 8); rows /= 2) {
    double all = 0, slowest = 0;
    for (const Stage& stage : stages_) {
      const double seconds = SecondsOf(stage, rows);
      all += seconds;
      slowest = std::max(slowest, seconds);
    }
    const double chunks = std::ceil(pending / static_cast<double>(rows));
    const double time = (chunks - 1) * slowest + all;
    if (time >= least) continue;
    least = time;
    best = rows;
  }
  return best;
}

}  // namespace exo::engine
