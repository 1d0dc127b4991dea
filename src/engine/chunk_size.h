// How many rows of prompts go into one step of a pipeline while nobody waits for a token. Small
// chunks fill the stages sooner, large ones read the weights less often: a prompt of P rows in
// chunks of r takes (P / r - 1) steps of the slowest stage and then one of each. What a step takes
// is learned from those that came back, for each size and stage; a size that was not tried yet is
// reckoned from one that was, and tried when that is promising.
//
// Sizes decide which rows share a step, never what is computed. Thread: one caller at a time.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "wire/messages.h"

namespace exo::engine {

class ChunkSize {
 public:
  // `rows` of one step, and what each stage computed for it.
  void Learn(uint32_t rows, std::span<const wire::StageTime> of_stages);

  // Rows of a step for prompts of `pending` rows in all, at most `most`: `most` itself, a half, a
  // quarter or an eighth of it.
  uint32_t RowsFor(uint32_t pending, uint32_t most) const;

 private:
  static constexpr size_t kSizes = 8;
  // Seconds of a step, moving averages; 0: none yet.
  struct Stage {
    double few = 0;                      // of so few rows that reading the weights is all
    std::array<double, kSizes> whole{};  // by sizes_
  };
  double SecondsOf(const Stage& stage, uint32_t rows) const;

  std::array<uint32_t, kSizes> sizes_{};  // rows of steps that came back; 0: none
  std::vector<Stage> stages_;
};

}  // namespace exo::engine
