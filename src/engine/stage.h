// A participant's side of the data path: which step may be computed, on which sequences, and what
// is returned. Every value comes from the network, so nothing here is a CHECK: a step of another
// plan, a duplicate, a gap in a sequence or a capacity beyond the reservation is an error with
// numbers.
//
//   BeginStep ─> compute Close, Open, Forward ─> CommitStep   (in this order, one step at a time)
//
// Thread: one caller at a time (the stage thread). Owner: the instance on this node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::engine {

struct StageOptions {
  PlanId plan;
  uint32_t context = 0;       // positions of one sequence at most
  uint64_t kv_positions = 0;  // of all open sequences: context x sequences
  uint32_t chunk = 256;       // rows of one step at most
  // Bugs that a test plants to show that the simulator finds them. Never set outside tests.
  bool plant_no_fence = false;      // steps of other plans and old steps are computed
  bool plant_no_gap_check = false;  // a step that does not continue its sequence is computed
};

// What to do for a step, in this order.
struct StageWork {
  bool duplicate = false;  // already computed: do nothing, answer nothing
  struct Open {
    uint64_t sequence = 0;
    uint32_t capacity = 0;
  };
  struct Segment {  // rows of backend::Segment
    uint64_t sequence = 0;
    uint32_t first = 0;
    uint32_t count = 0;
  };
  std::vector<uint64_t> close;
  std::vector<Open> open;
  std::vector<Segment> segments;      // one per item
  uint32_t rows = 0;                  // of the hidden states that came with the step
  std::vector<uint32_t> output_rows;  // rows that the last stage returns to the lead
};

struct StageStats {
  uint64_t steps = 0;
  uint64_t foreign = 0;  // steps of another plan
  uint64_t duplicates = 0;
  uint64_t refused = 0;  // gaps, overruns, limits
};

class StageMachine {
 public:
  explicit StageMachine(StageOptions options) : options_(options) {}

  // Checks a step and says what to compute. On an error nothing has changed and the instance has
  // failed, except for a foreign plan (kNotFound): drop the frame. Errors: kNotFound (other plan),
  // kInvalid (gap: first != committed length, unknown sequence, empty or too long item, a previous
  // step not committed), kOverloaded (capacity over the reservation).
  Result<StageWork> BeginStep(const wire::Step& step);
  // The step of the last BeginStep was computed: its rows are part of the sequences now.
  void CommitStep();
  // It was not (a failed compute): sequences stay as before; opened ones stay open, empty.
  void AbortStep();

  // Forgets positions from `length` on (rejected drafts, a recovery); the caller truncates its KV
  // too. Returns the sequence. Errors: kNotFound, kInvalid (beyond the committed length).
  Result<uint64_t> Truncate(const RequestId& request, uint32_t length);
  // The sequences left open, closed now: for the end of the instance.
  std::vector<uint64_t> CloseAll();

  std::optional<uint32_t> Length(const RequestId& request) const;
  uint64_t used_positions() const { return used_positions_; }
  const StageStats& stats() const { return stats_; }

 private:
  struct Sequence {
    uint64_t id = 0;
    uint32_t length = 0;  // committed
    uint32_t capacity = 0;
  };
  Result<void> CheckItems(const wire::Step& step) const;

  StageOptions options_;
  std::map<RequestId, Sequence> sequences_;
  struct Pending {
    RequestId request;
    uint32_t length = 0;
  };
  std::vector<Pending> pending_;
  bool begun_ = false;
  uint64_t last_step_ = 0;
  uint64_t next_sequence_ = 1;
  uint64_t used_positions_ = 0;
  StageStats stats_;
};

}  // namespace exo::engine
