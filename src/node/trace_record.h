// Where the time of one request went, as the entry node hears of it, and the spans of that.
//
// The entry's own phases are by its clock. Steps are by the clock of the lead that computed them,
// since the request came to it; that moment is found from when their tokens arrived, which is late
// by one way of the wire at most. Of another device only durations are known: they stand inside the
// lead's interval of the step, and what is left of it is the wire's, shared by the links by the
// rows that each of them carried. Shards compute beside each other: of each one its computing comes
// first and its waiting for the others' sums after it, though in truth they take turns in every
// layer.
//
// Thread: one at a time. Owner: the request's record.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/units.h"
#include "cluster/effect.h"
#include "node/request_view.h"

namespace exo::node {

class TraceRecord {
 public:
  // Steps that are kept, the first ones: of an answer of 2,000 tokens all. About 100 bytes each.
  static constexpr size_t kMaxSteps = 2048;

  explicit TraceRecord(Time start) : start_(start) {}

  // Of the entry: [begin, end). Those of no length are left out.
  void AddPhase(TraceSpan::Kind kind, Time begin, Time end, uint64_t rows = 0);
  // What a lead told about choice `choice`, whose next token has the index `token`.
  void AddSteps(const cluster::RequestTokens& news, uint32_t choice, uint64_t token, Time now);

  uint64_t dropped() const { return dropped_; }
  // By their start, in microseconds since the record's own; `entry`: the name of this node.
  std::vector<TraceSpan> Spans(const std::string& entry,
                               const std::function<std::string(const NodeId&)>& name_of) const;

 private:
  struct Phase {
    TraceSpan::Kind kind;
    Time begin, end;
    uint64_t rows = 0;
  };
  // One choice under one plan: steps by one clock.
  struct Leg {
    uint32_t choice = 0;
    PlanId plan;
    std::vector<wire::StageTime> stages;  // whose these are
    Time zero{};                          // when the request came to the lead, by this node's clock
  };
  struct Step {
    size_t leg = 0;
    bool prompt = false;  // no token had come before it
    std::optional<uint64_t> token;
    wire::StepTrace times;
  };
  class Writer;

  size_t LegOf(const cluster::RequestTokens& news, uint32_t choice);

  const Time start_;
  std::vector<Phase> phases_;
  std::vector<Leg> legs_;
  std::vector<Step> steps_;
  uint64_t dropped_ = 0;
};

}  // namespace exo::node
