#include "engine/step_pace.h"

#include <algorithm>
#include <cmath>

namespace exo::engine {
namespace {

// The part of a new figure in its moving average: a few steps are enough to follow a changed load,
// and one that a neighbor disturbed does not count for much.
constexpr double kNewest = 0.25;
// Steps with fewer rows of prompts say little about one of them. No more than a tile, or the
// smallest chunks, which follow from slow rows, would hide that rows became faster.
constexpr uint32_t kLearnFrom = 8;
// Reading the weights takes about as long as so many rows of a prompt, until a step of running
// streams alone was measured: while prompts keep coming there is none.
constexpr double kReadingRows = 8;
// The first chunk beside running streams, when no prompt has been measured yet.
constexpr uint32_t kFirstRows = 32;
// Kernels take rows in tiles of so many.
constexpr uint32_t kTile = 8;
// A drafted row's part of a step before one was measured, about what a batch costs on processors.
constexpr double kFirstDraftCost = 0.25;

void Follow(double& average, double value) {
  average = average == 0 ? value : average + kNewest * (value - average);
}

double PerRow(double seconds, double plain, uint32_t rows) {
  return std::max(seconds - plain, 0.02 * seconds) / rows;
}

}  // namespace

void StepPace::Learn(const Rows& rows, Time spent, Time visit) {
  const double seconds = std::chrono::duration<double>(spent).count();
  if (seconds <= 0) return;
  if (rows.prompts >= kLearnFrom) {
    if (rows.streams > 0 && plain_ == 0) {
      Follow(prompt_row_, seconds / (rows.prompts + kReadingRows));
    } else {
      Follow(prompt_row_, PerRow(seconds, rows.streams == 0 ? 0 : plain_, rows.prompts));
    }
  } else if (rows.prompts == 0 && rows.drafts == 0 && rows.streams > 0) {
    Follow(plain_, seconds);
    Follow(visit_, std::chrono::duration<double>(visit).count());
  } else if (rows.prompts == 0 && rows.drafts > 0 && plain_ > 0) {
    Follow(draft_row_, PerRow(seconds, plain_, rows.drafts));
    const double visited = std::chrono::duration<double>(visit).count();
    if (visited > 0 && visit_ > 0) Follow(visit_row_, PerRow(visited, visit_, rows.drafts));
  }
}

uint32_t StepPace::PromptRows(uint32_t chunk) const {
  if (prompt_row_ == 0) return std::min(chunk, kFirstRows);
  const double gap = std::chrono::duration<double>(options_.target_gap).count();
  const double plain = plain_ > 0 ? plain_ : kReadingRows * prompt_row_;
  const double in_time = (gap - plain) / prompt_row_;
  // rows / (plain + rows x row) >= least x 1 / row
  const double worth = options_.least_speed / (1 - options_.least_speed) * plain / prompt_row_;
  const double rows = std::clamp(std::max(in_time, worth), 1.0, static_cast<double>(chunk));
  const auto whole = static_cast<uint32_t>(rows) / kTile * kTile;
  return std::clamp(whole, std::min(chunk, kTile), chunk);
}

double StepPace::PartOfStep(Time time) const {
  return plain_ == 0 ? 0 : std::chrono::duration<double>(time).count() / plain_;
}

double StepPace::VisitCost(uint32_t drafts) const {
  const double row = visit_row_ > 0 && plain_ > 0 ? visit_row_ / plain_ : DraftCost();
  return (KnowsVisits() ? visit_ / plain_ : 1) + drafts * row;
}

double StepPace::DraftCost() const {
  if (plain_ == 0 || draft_row_ == 0) return kFirstDraftCost;
  return draft_row_ / plain_;
}

}  // namespace exo::engine
