// A participant's side of the data path: which step may be computed, on which sequences, and what
// is returned. Every value comes from the network, so nothing here is a CHECK: a step of another
// plan, a duplicate, a gap in a sequence or pages beyond the reservation are errors with numbers.
//
//   BeginStep ─> Close, Truncate, Fork, Open, Restore, layers ─> CommitStep or CancelStep ─> Store
//   (in this order, one step at a time)
//
// A sequence whose rows were given up (a cancelled step) is dirty: its KV is known good up to the
// length before that step. Items that would continue it are cancelled, here and at every later
// stage, until the lead closes or truncates it. Undefined KV is never committed. So is a sequence
// of which a stage could not restore a page.
//
// Thread: one caller at a time (the stage thread). Owner: the instance on this node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/result.h"
#include "engine/page_ledger.h"
#include "wire/messages.h"
#include "wire/plan.h"

namespace exo::engine {

struct StageOptions {
  PlanId plan;
  uint32_t context = 0;                  // positions of one sequence at most
  uint64_t pages = 0;                    // of KV, of all sequences
  LedgerWindow window = {};              // of layers that have one
  uint32_t page = wire::kPagePositions;  // positions of one
  uint32_t chunk = 256;                  // rows of one step at most
  uint32_t adapters = 0;                 // that the plan offers
  // Bugs that a test plants to show that the simulator finds them. Never set outside tests.
  bool plant_no_fence = false;          // steps of other plans and old steps are computed
  bool plant_no_gap_check = false;      // a step that does not continue its sequence is computed
  bool plant_commit_cancelled = false;  // a cancelled step counts as computed
};

// What to do for a step, in this order.
struct StageWork {
  bool duplicate = false;  // already computed: do nothing, answer nothing
  struct Cut {
    uint64_t sequence = 0;
    uint32_t length = 0;
  };
  struct Fork {
    uint64_t from = 0;
    uint64_t to = 0;
    uint32_t length = 0;
  };
  struct Segment {  // rows of backend::Segment
    uint64_t sequence = 0;
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t row = 0;  // where its rows begin among those that came with the step
  };
  struct Page {  // to restore or to store
    uint64_t sequence = 0;
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t index = 0;  // in the step's list
    bool bare = false;   // without the layers that have a window
  };
  std::vector<uint64_t> close;
  std::vector<Cut> truncate;
  std::vector<Fork> fork;
  struct Open {
    uint64_t sequence = 0;
    std::vector<wire::AdapterUse> adapters;
  };
  std::vector<Open> open;
  std::vector<Page> restore;
  std::vector<uint32_t> lost;       // indices of pages to restore that nobody needs any more
  std::vector<Page> store;          // after the rows, when they were computed
  std::vector<uint32_t> not_taken;  // indices of pages to store that are not
  std::vector<Segment> segments;    // one per item that is computed
  std::vector<uint32_t> cancelled;  // indices of the items that are not computed: no rows go on
  uint32_t rows_in = 0;  // hidden states that come with the step: of the items not cancelled in it
  uint32_t rows = 0;     // hidden states that are computed and go on: the segments' rows
  std::vector<uint32_t> output_rows;  // of them: rows that the last stage returns to the lead
};

struct StageStats {
  uint64_t steps = 0;
  uint64_t foreign = 0;  // steps of another plan
  uint64_t duplicates = 0;
  uint64_t refused = 0;    // gaps, overruns, limits
  uint64_t cancelled = 0;  // steps whose compute was interrupted
};

class StageMachine {
 public:
  explicit StageMachine(StageOptions options)
      : options_(options), sequences_(PageLedger(options.page, options.window)) {}

  // Checks a step and says what to compute. On an error nothing has changed and the instance has
  // failed, except for a foreign plan (kNotFound): drop the frame. Errors: kNotFound (other plan),
  // kInvalid (gap: first != committed length, unknown sequence, empty or too long item, output rows
  // or a truncation beyond the end, a page that does not continue its sequence or that has rows in
  // the same step, a previous step not committed, adapters that the plan does not have or other
  // ones than the sequence began with, a cut or fork or rows where the window of a layer is gone,
  // a page to store whole where it is), kOverloaded (more pages than the plan reserved).
  Result<StageWork> BeginStep(const wire::Step& step);
  // A page of the step that has begun could not be restored: its sequence is dirty and as long as
  // before.
  void LosePage(const wire::StepPage& page);
  // The step of the last BeginStep was computed: its rows are part of the sequences now.
  void CommitStep();
  // Its compute was interrupted: the sequences of its segments are dirty. Returns where to truncate
  // their KV.
  std::vector<StageWork::Cut> CancelStep();
  // It failed, and with it the instance: lengths stay as before.
  void AbortStep();

  // The same stage goes on under another plan: sequences, with their KV, stay as they are; steps
  // count from 1 again. A carried sequence is continued by an item that begins at or before its
  // length (at 0: anew), and makes room when a new one needs it. Returns those that the new plan
  // has no room for, closed now.
  std::vector<uint64_t> Rebind(const StageOptions& options);

  // Sequences of requests that were in work, for the plan that comes next: they are given up here,
  // and closed by the caller. Not those that were only kept for others that begin alike.
  struct Left {
    RequestId request;
    uint64_t sequence = 0;
    uint32_t length = 0;
    std::vector<bool> whole;  // of each page: that of all layers, also those with a window
  };
  std::vector<Left> Leave();

  std::optional<uint32_t> Length(const RequestId& request) const;
  bool IsDirty(const RequestId& request) const;
  uint64_t used_pages() const { return sequences_.ledger.used(); }
  const StageStats& stats() const { return stats_; }

 private:
  struct Sequence {
    uint64_t id = 0;
    uint32_t length = 0;                          // committed, known good
    bool dirty = false;                           // rows behind `length` were given up
    bool carried = false;                         // of an earlier plan, not used by this one yet
    bool in_work = false;                         // had rows since it was cut
    std::vector<wire::AdapterUse> adapters = {};  // its KV was computed with
  };
  struct Sequences {
    explicit Sequences(PageLedger pages) : ledger(std::move(pages)) {}
    std::map<RequestId, Sequence> open;
    PageLedger ledger;
    uint64_t next_id = 1;
  };
  struct Pending {
    RequestId request;
    uint32_t length = 0;
  };
  // Each applies a part of `step` to `after`, a copy: on an error it is thrown away.
  Result<void> ChangeSequences(const wire::Step& step, Sequences& after, StageWork& work) const;
  Result<void> ForkOne(const wire::Step& step, const wire::StepFork& fork, Sequences& after,
                       StageWork& work) const;
  Result<void> CheckRestored(const wire::Step& step, const wire::StepPage& page) const;
  Result<void> RestoreOne(const wire::Step& step, size_t index, Sequences& after,
                          StageWork& work) const;
  Result<void> StoreOne(const wire::Step& step, size_t index, const Sequences& after,
                        StageWork& work) const;
  Result<void> AddItems(const wire::Step& step, Sequences& after, StageWork& work,
                        std::vector<Pending>& pending) const;
  Result<void> AddItem(const wire::Step& step, size_t index, Sequences& after, StageWork& work,
                       std::vector<Pending>& pending) const;
  // The sequence that an item continues, null for none. One of an earlier plan is taken over up to
  // where the item begins; at 0 it begins anew.
  static Sequence* FindFor(const wire::StepItem& item, Sequences& after, StageWork& work);
  static Sequence& OpenOne(const RequestId& request, Sequences& after);
  // Takes the pages for what an item writes; sequences of an earlier plan make room.
  Result<void> TakePages(const wire::Step& step, const RequestId& request, uint32_t first,
                         uint32_t end, Sequences& after, StageWork& work) const;
  static void CloseOne(std::map<RequestId, Sequence>::iterator at, Sequences& after,
                       StageWork& work);

  StageOptions options_;
  Sequences sequences_;
  std::vector<Pending> pending_;
  bool begun_ = false;
  uint64_t last_step_ = 0;
  StageStats stats_;
};

}  // namespace exo::engine
