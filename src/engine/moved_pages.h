// KV of plans that have moved, in memory, until the plan that took their place has it: layer by
// layer, so that a stage of other layers finds its part here and the rest at other nodes.
//
// A page is named by the plan that computed it, its request and its place in the sequence. That
// says all that decides its bits as long as nobody asks for more positions than the lead has seen
// computed (wire::Tokens::computed): what a stage holds behind them may be guesses.
//
// It is a cache: nothing is reserved for it. What lies here was within the reservation of the plan
// that has ended, and is given up when the memory is wanted (Limit) and after StageTimers::keep. A
// layer is given away once.
//
// Thread: any.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/units.h"
#include "engine/timers.h"

namespace exo::engine {

// One layer of a page, as StageCompute::SavePage gives it.
struct LayerPage {
  uint32_t positions = 0;
  std::vector<std::byte> bytes;
};
struct MovedPageName {
  RequestId request;
  uint32_t index = 0;  // of the page in the sequence
};
// How a stage gets these layers of a page of the former plan, wherever they are: as many, in this
// order. Blocks for seconds at most. Errors: kNotFound, kDisconnected, kCorrupt.
using LoadMoved = std::function<Result<std::vector<LayerPage>>(const MovedPageName& name,
                                                               std::span<const uint32_t> layers)>;

class MovedPages {
 public:
  explicit MovedPages(Time keep = StageTimers{}.keep) : keep_(keep) {}

  // A stage of this plan runs here: who asks for its pages waits until it has ended.
  void Expect(const PlanId& plan);
  // Dropped, with all that is here of the request, where there is no room.
  void Put(const PlanId& plan, const MovedPageName& name, uint32_t layer, LayerPage page);
  // The stage has ended: nothing more comes.
  void Complete(const PlanId& plan, Time now);

  // Takes a layer away, after a wait until `deadline` for a stage that has not ended yet. Nothing:
  // it is not here.
  std::optional<LayerPage> Take(const PlanId& plan, const MovedPageName& name, uint32_t layer,
                                std::chrono::steady_clock::time_point deadline);

  // From now on at most so many bytes are kept; what is over is dropped, request by request. Not
  // counted now: so many pages of each of the layers [begin, end), for which the plan that takes
  // them over has memory.
  struct Reserved {
    uint32_t layer_begin = 0;
    uint32_t layer_end = 0;
    uint64_t pages = 0;
  };
  void Limit(uint64_t bytes, const Reserved& reserved);
  void Limit(uint64_t bytes) { Limit(bytes, Reserved{}); }
  void DropExpired(Time now);
  uint64_t bytes() const;

 private:
  using Key = std::pair<uint32_t, uint32_t>;  // index, layer
  struct Plan {
    uint32_t running = 0;  // stages here
    Time since{};
    std::map<RequestId, std::map<Key, LayerPage>> requests;
    std::set<RequestId> dropped;
  };
  void Drop(Plan& plan, const RequestId& request) EXO_REQUIRES(mutex_);
  uint64_t CountedBytes(const Reserved& reserved) const EXO_REQUIRES(mutex_);

  const Time keep_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<PlanId, Plan> plans_ EXO_GUARDED_BY(mutex_);
  uint64_t bytes_ EXO_GUARDED_BY(mutex_) = 0;
  uint64_t limit_ EXO_GUARDED_BY(mutex_) = 0;
};

}  // namespace exo::engine
