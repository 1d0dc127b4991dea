// How long steps take on this instance, learned from those that came back, and what follows from
// it: how many rows of prompts may ride with running streams, and what a drafted row or a further
// step on its way costs.
//
// A step reads the weights once and computes its rows: time = reading + rows x row. The time is
// from the step's start to its return, so that waiting in a pipeline is part of it. Times decide
// which rows share a step, never what is computed. Thread: one caller at a time.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace exo::engine {

struct PaceOptions {
  // A running stream waits about this long for its next token while prompts are computed.
  Time target_gap = std::chrono::milliseconds(250);
  // But a chunk never gets so small that prompts are slower than this part of their full speed:
  // every chunk reads all weights again.
  double least_speed = 0.85;
};

class StepPace {
 public:
  explicit StepPace(PaceOptions options) : options_(options) {}

  // The rows of a step: one for each running stream, drafted ones behind them, and prompts'.
  struct Rows {
    uint32_t streams = 0;
    uint32_t drafts = 0;
    uint32_t prompts = 0;
  };
  // `visit`: what the stage computed of it that took longest; zero: unknown.
  void Learn(const Rows& rows, Time spent, Time visit = {});

  // Rows of prompts for a step that running streams wait for, at most `chunk` and at least one.
  uint32_t PromptRows(uint32_t chunk) const;
  // A drafted row's part of the time of a step without it (a guess before one was measured).
  double DraftCost() const;
  // The part of the time of a step of running streams alone for which one with `drafts` drafted
  // rows occupies the slowest stage: while the parts of those in flight are less than 1, another
  // one finds it idle. At least 1 before a step was measured.
  double VisitCost(uint32_t drafts = 0) const;
  bool KnowsVisits() const { return plain_ > 0 && visit_ > 0; }
  // The part of a step of running streams alone that `time` is; 0 when none was measured.
  double PartOfStep(Time time) const;

 private:
  PaceOptions options_;
  // Seconds, moving averages; 0: none yet.
  double plain_ = 0;       // a step of running streams alone
  double prompt_row_ = 0;  // beyond that, for one row of a prompt
  double draft_row_ = 0;   // and for one drafted row
  double visit_ = 0;       // of a step of running streams alone, at the slowest stage
  double visit_row_ = 0;   // there, for one drafted row
};

}  // namespace exo::engine
