#include "node/trace_record.h"

#include <algorithm>
#include <tuple>

namespace exo::node {
namespace {

using Kind = TraceSpan::Kind;

uint64_t MicrosecondsBetween(Time begin, Time end) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(end - begin).count();
  return static_cast<uint64_t>(std::max<int64_t>(0, us));
}

// Each of several stages has all layers.
bool AreShards(const std::vector<wire::StageTime>& stages) {
  return stages.size() > 1 && std::ranges::all_of(stages, [&](const wire::StageTime& stage) {
           return stage.layer_begin == stages[0].layer_begin &&
                  stage.layer_end == stages[0].layer_end;
         });
}

}  // namespace

const char* RequestStateName(RequestState state) {
  constexpr const char* kNames[] = {"queued", "prompt", "answering", "done", "failed", "canceled"};
  return kNames[static_cast<size_t>(state)];
}

const char* TraceSpanName(TraceSpan::Kind kind) {
  constexpr const char* kNames[] = {"queue", "template", "tokenize", "load",  "prompt",
                                    "token", "stage",    "wire",     "sample"};
  return kNames[static_cast<size_t>(kind)];
}

void TraceRecord::AddPhase(Kind kind, Time begin, Time end, uint64_t rows) {
  if (MicrosecondsBetween(begin, end) > 0) phases_.push_back({kind, begin, end, rows});
}

size_t TraceRecord::LegOf(const cluster::RequestTokens& news, uint32_t choice) {
  const auto known = std::ranges::find_if(
      legs_, [&](const Leg& leg) { return leg.choice == choice && leg.plan == news.plan; });
  if (known != legs_.end()) return static_cast<size_t>(known - legs_.begin());
  legs_.push_back({.choice = choice, .plan = news.plan, .zero = Time::max()});
  return legs_.size() - 1;
}

void TraceRecord::AddSteps(const cluster::RequestTokens& news, uint32_t choice, uint64_t token,
                           Time now) {
  dropped_ += news.steps_dropped;
  if (news.steps.empty()) return;
  const size_t at = LegOf(news, choice);
  Leg& leg = legs_[at];
  if (leg.stages.size() < news.stages.size()) leg.stages = news.stages;
  // Another device may say anything; no step lies outside the request's life.
  const uint64_t lived = std::min(news.steps.back().done_us, MicrosecondsBetween(start_, now));
  leg.zero = std::min<Time>(leg.zero, now - std::chrono::microseconds(lived));
  for (const wire::StepTrace& step : news.steps) {
    if (steps_.size() == kMaxSteps) {
      ++dropped_;
      continue;
    }
    const bool brought = !news.tokens.empty() && &step == &news.steps.back();
    steps_.push_back({.leg = at,
                      .prompt = token == 0,
                      .token = brought ? std::optional(token) : std::nullopt,
                      .times = step});
    for (uint64_t wire::StepTrace::* moment :
         {&wire::StepTrace::begun_us, &wire::StepTrace::returned_us, &wire::StepTrace::done_us})
      steps_.back().times.*moment = std::min(step.*moment, lived);
  }
}

// One step at a time.
class TraceRecord::Writer {
 public:
  Writer(Time start, const std::function<std::string(const NodeId&)>& name_of,
         std::vector<TraceSpan>& out)
      : start_(start), name_of_(name_of), out_(out) {}

  // The wait at the lead before its first step.
  void WriteQueue(const Leg& leg, const Step& first) {
    leg_ = &leg;
    step_ = &first;
    if (first.times.begun_us == 0) return;
    TraceSpan& queue = Add(Kind::kQueue, 0, 0, first.times.begun_us);
    queue.token.reset();
    queue.step.reset();
  }

  void Write(const Leg& leg, const Step& step, size_t number) {
    number_ = static_cast<uint32_t>(number);
    leg_ = &leg;
    step_ = &step;
    const wire::StepTrace& times = step.times;
    begun_ = times.begun_us;
    returned_ = std::max(begun_, times.returned_us);
    done_ = std::max(returned_, times.done_us);
    Add(step.prompt ? Kind::kPrompt : Kind::kToken, 0, begun_, done_ - begun_).rows = times.rows;
    AreShards(leg.stages) ? WriteShards() : WritePipeline();
    Add(Kind::kSample, 0, returned_, done_ - returned_);
  }

 private:
  std::string NameOf(size_t stage) const {
    return stage < leg_->stages.size() ? name_of_(leg_->stages[stage].node) : "";
  }
  TraceSpan& Add(Kind kind, size_t stage, uint64_t begin_us, uint64_t duration_us) {
    out_.push_back({.kind = kind,
                    .device = NameOf(stage),
                    .stage = static_cast<uint32_t>(stage),
                    .start_us = MicrosecondsBetween(start_, leg_->zero) + begin_us,
                    .duration_us = duration_us,
                    .token = step_->token,
                    .choice = leg_->choice,
                    .step = number_});
    return out_.back();
  }
  // What stage `at` computed, as far as the interval holds it: a peer may say anything.
  uint64_t Computed(size_t at) const {
    return std::min(step_->times.stage_us[at], returned_ - begun_);
  }
  size_t Stages() const { return std::min(step_->times.stage_us.size(), leg_->stages.size()); }

  void WriteShards() {
    for (size_t i = 0; i < Stages(); ++i) {
      const uint64_t computed = Computed(i);
      Add(Kind::kStage, i, begun_, computed);
      Add(Kind::kWire, i, begun_ + computed, returned_ - begun_ - computed);
    }
  }

  // Stages [begin, end) that compute the same layers beside each other, so long.
  struct Group {
    size_t begin = 0;
    size_t end = 0;
    uint64_t computed = 0;
  };
  std::vector<Group> Groups() const {
    std::vector<Group> groups;
    for (size_t i = 0; i < Stages(); ++i) {
      const wire::StageTime& stage = leg_->stages[i];
      const bool joins =
          i > 0 && stage.layer_begin < stage.layer_end && AreShards({leg_->stages[i - 1], stage});
      if (!joins) groups.push_back({.begin = i});
      groups.back().end = i + 1;
      groups.back().computed = std::max(groups.back().computed, Computed(i));
    }
    return groups;
  }

  uint64_t OwnOf(const Group& group, size_t stage) const {
    return std::min(Computed(stage), group.computed);
  }

  void WritePipeline() {
    std::vector<Group> groups = Groups();
    uint64_t left = returned_ - begun_;
    for (Group& group : groups) {
      group.computed = std::min(group.computed, left);
      left -= group.computed;
    }
    // A frame without rows takes its time, too: it counts as one.
    const double forward = step_->times.step_rows + 1.0, back = step_->times.outputs + 1.0;
    const double all = forward * (static_cast<double>(groups.size()) - 1) + back;
    uint64_t at = begun_;
    for (const Group& group : groups) {
      for (size_t i = group.begin; i < group.end; ++i) Add(Kind::kStage, i, at, OwnOf(group, i));
      if (groups.size() == 1) return;
      const bool last = group.end == Stages();
      const auto wire =
          static_cast<uint64_t>(static_cast<double>(left) * (last ? back : forward) / all);
      // The others of a group wait for the slowest.
      for (size_t i = group.begin; i < group.end; ++i) {
        const uint64_t own = OwnOf(group, i);
        TraceSpan& span = Add(Kind::kWire, i, at + own, group.computed - own + wire);
        if (i == group.begin) span.to = NameOf(last ? 0 : group.end);
      }
      at += group.computed + wire;
    }
  }

  const Time start_;
  const std::function<std::string(const NodeId&)>& name_of_;
  std::vector<TraceSpan>& out_;
  const Leg* leg_ = nullptr;
  const Step* step_ = nullptr;
  uint32_t number_ = 0;
  uint64_t begun_ = 0, returned_ = 0, done_ = 0;
};

std::vector<TraceSpan> TraceRecord::Spans(
    const std::string& entry, const std::function<std::string(const NodeId&)>& name_of) const {
  std::vector<TraceSpan> spans;
  for (const Phase& phase : phases_) {
    spans.push_back({.kind = phase.kind,
                     .device = entry,
                     .start_us = MicrosecondsBetween(start_, phase.begin),
                     .duration_us = MicrosecondsBetween(phase.begin, phase.end),
                     .rows = static_cast<uint32_t>(phase.rows)});
  }
  Writer writer(start_, name_of, spans);
  std::vector<bool> queued(legs_.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    const Leg& leg = legs_[step.leg];
    if (!queued[step.leg]) {
      queued[step.leg] = true;
      writer.WriteQueue(leg, step);
    }
    writer.Write(leg, step, i);
  }
  std::ranges::sort(spans, {}, [](const TraceSpan& span) {
    return std::tuple(span.start_us, span.kind, span.stage);  // steps come before their parts
  });
  return spans;
}

}  // namespace exo::node
