#include "engine/stage.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/check.h"

namespace exo::engine {

StageMachine::Sequence& StageMachine::OpenOne(const RequestId& request, Sequences& after) {
  Sequence& sequence = after.open[request];
  sequence = {.id = after.next_id++};
  return sequence;
}

Result<void> StageMachine::TakePages(const wire::Step& step, const RequestId& request,
                                     uint32_t first, uint32_t end, Sequences& after,
                                     StageWork& work) const {
  const auto missing = [&] {
    const uint64_t wanted = after.ledger.used() + after.ledger.Needs(request, first, end);
    return wanted > options_.pages ? wanted - options_.pages : 0;
  };
  for (auto at = after.open.begin(); at != after.open.end() && missing() > 0;) {
    const auto next = std::next(at);
    if (at->second.carried) CloseOne(at, after, work);
    at = next;
  }
  if (missing() > 0) {
    return Fail(ErrorCode::kOverloaded, "step {}: {} pages of KV, the plan reserved {}", step.step,
                options_.pages + missing(), options_.pages);
  }
  after.ledger.Write(request, first, end);
  return {};
}

void StageMachine::CloseOne(std::map<RequestId, Sequence>::iterator at, Sequences& after,
                            StageWork& work) {
  work.close.push_back(at->second.id);
  after.ledger.Close(at->first);
  after.open.erase(at);
}

Result<void> StageMachine::ForkOne(const wire::Step& step, const wire::StepFork& fork,
                                   Sequences& after, StageWork& work) const {
  const auto from = after.open.find(fork.from);
  if (from == after.open.end() || after.open.contains(fork.to)) {
    return Fail(ErrorCode::kInvalid, "step {}: cannot fork request {} to {}: {}", step.step,
                fork.from.Short(), fork.to.Short(),
                from == after.open.end() ? "it has no sequence here" : "that one is open already");
  }
  from->second.carried = false;
  const Sequence source = from->second;
  if (fork.length > source.length) {
    return Fail(ErrorCode::kInvalid, "step {}: a fork of {} positions of request {}, which has {}",
                step.step, fork.length, fork.from.Short(), source.length);
  }
  Sequence& to = OpenOne(fork.to, after);
  to.length = fork.length;
  after.ledger.Share(fork.from, fork.length, fork.to);
  work.fork.push_back({source.id, to.id, fork.length});
  return {};
}

Result<void> StageMachine::ChangeSequences(const wire::Step& step, Sequences& after,
                                           StageWork& work) const {
  for (const RequestId& request : step.close) {
    const auto at = after.open.find(request);
    if (at != after.open.end()) CloseOne(at, after, work);
  }
  for (const wire::StepTruncate& cut : step.truncate) {
    const auto at = after.open.find(cut.request);
    if (at == after.open.end() || cut.length > at->second.length) {
      return Fail(ErrorCode::kInvalid,
                  "step {}: request {} has {} positions, it cannot be cut to {}", step.step,
                  cut.request.Short(), at == after.open.end() ? 0 : at->second.length, cut.length);
    }
    at->second.length = cut.length;
    at->second.dirty = at->second.carried = false;
    after.ledger.Truncate(cut.request, cut.length);
    work.truncate.push_back({at->second.id, cut.length});
  }
  for (const wire::StepFork& fork : step.fork) TRY(ForkOne(step, fork, after, work));
  return {};
}

Result<void> StageMachine::AddItem(const wire::Step& step, size_t index, Sequences& after,
                                   StageWork& work, std::vector<Pending>& pending) const {
  const wire::StepItem& item = step.items[index];
  const std::string name = item.request.Short();
  const uint64_t end = uint64_t{item.first} + item.count;
  if (uint64_t{item.output_first} + item.output_count > item.count) {
    return Fail(ErrorCode::kInvalid, "step {}: request {} wants rows {} to {} of {}", step.step,
                name, item.output_first, uint64_t{item.output_first} + item.output_count,
                item.count);
  }
  if (item.adapter != 0) {
    return Fail(ErrorCode::kUnsupported, "step {}: request {} wants adapter {}, there is none",
                step.step, name, item.adapter);
  }
  auto at = after.open.find(item.request);
  if (at != after.open.end() && at->second.carried && item.first <= at->second.length) {
    Sequence& carried = at->second;
    carried.carried = carried.dirty = false;
    carried.length = item.first;
    if (item.first > 0) {
      after.ledger.Truncate(item.request, item.first);
      work.truncate.push_back({carried.id, carried.length});
    } else {
      CloseOne(at, after, work);
      at = after.open.end();
    }
  }
  Sequence* sequence = at == after.open.end() ? nullptr : &at->second;
  if (item.cancelled || (sequence != nullptr && sequence->dirty)) {
    if (sequence != nullptr && !options_.plant_commit_cancelled) sequence->dirty = true;
    if (sequence != nullptr && options_.plant_commit_cancelled)
      pending.push_back({item.request, static_cast<uint32_t>(end)});
    work.cancelled.push_back(static_cast<uint32_t>(index));
    if (!item.cancelled) work.rows_in += item.count;
    return {};
  }
  const uint32_t length = sequence == nullptr ? 0 : sequence->length;
  if (item.first != length && !options_.plant_no_gap_check) {
    return Fail(ErrorCode::kInvalid,
                "step {}: request {} continues at position {}, {} are computed", step.step, name,
                item.first, length);
  }
  if (end > options_.context) {
    return Fail(ErrorCode::kInvalid, "step {}: request {} writes up to position {} of {}",
                step.step, name, end, options_.context);
  }
  if (sequence == nullptr) {
    sequence = &OpenOne(item.request, after);
    work.open.push_back(sequence->id);
  }
  TRY(TakePages(step, item.request, std::min(item.first, length), static_cast<uint32_t>(end), after,
                work));
  work.segments.push_back({sequence->id, item.first, item.count, work.rows_in});
  for (uint32_t i = 0; i < item.output_count; ++i)
    work.output_rows.push_back(work.rows + item.output_first + i);
  work.rows_in += item.count;
  work.rows += item.count;
  pending.push_back({item.request, static_cast<uint32_t>(end)});
  return {};
}

Result<StageWork> StageMachine::BeginStep(const wire::Step& step) {
  if (step.plan != options_.plan && !options_.plant_no_fence) {
    ++stats_.foreign;
    return Fail(ErrorCode::kNotFound, "step {} belongs to plan {}, this is {}", step.step,
                step.plan.Short(), options_.plan.Short());
  }
  if (begun_) {
    ++stats_.refused;
    return Fail(ErrorCode::kInvalid, "step {} came before step {} was computed", step.step,
                last_step_);
  }
  StageWork work;
  if (step.step <= last_step_ && !options_.plant_no_fence) {
    ++stats_.duplicates;
    work.duplicate = true;
    return work;
  }
  Sequences after = sequences_;  // taken over when everything is right
  std::vector<Pending> pending;
  const auto apply = [&]() -> Result<void> {
    TRY(ChangeSequences(step, after, work));
    std::set<RequestId> seen;
    uint64_t rows = 0;
    for (size_t i = 0; i < step.items.size(); ++i) {
      const wire::StepItem& item = step.items[i];
      rows += item.count;
      if (item.count == 0 || rows > options_.chunk) {
        return Fail(ErrorCode::kInvalid, "step {}: {} rows, 1 to {} are allowed", step.step, rows,
                    options_.chunk);
      }
      if (!seen.insert(item.request).second) {
        return Fail(ErrorCode::kInvalid, "step {}: request {} is there twice", step.step,
                    item.request.Short());
      }
      TRY(AddItem(step, i, after, work, pending));
    }
    return {};
  };
  if (const auto applied = apply(); !applied) {
    ++stats_.refused;
    return std::unexpected(applied.error());
  }
  sequences_ = std::move(after);
  pending_ = std::move(pending);
  begun_ = true;
  last_step_ = step.step;
  return work;
}

void StageMachine::CommitStep() {
  CHECK(begun_);
  for (const Pending& pending : pending_) {
    Sequence& sequence = sequences_.open.at(pending.request);
    CHECK(pending.length <= options_.context || options_.plant_commit_cancelled);
    sequence.length = pending.length;
  }
  ++stats_.steps;
  AbortStep();
}

std::vector<StageWork::Cut> StageMachine::CancelStep() {
  std::vector<StageWork::Cut> cuts;
  for (const Pending& pending : pending_) {
    Sequence& sequence = sequences_.open.at(pending.request);
    sequence.dirty = true;
    sequences_.ledger.Truncate(pending.request, sequence.length);
    cuts.push_back({sequence.id, sequence.length});
  }
  ++stats_.cancelled;
  if (options_.plant_commit_cancelled) {
    for (const Pending& pending : pending_) sequences_.open.at(pending.request).dirty = false;
    CommitStep();
    return {};
  }
  AbortStep();
  return cuts;
}

void StageMachine::AbortStep() {
  pending_.clear();
  begun_ = false;
}

std::vector<uint64_t> StageMachine::Rebind(const StageOptions& options) {
  AbortStep();
  options_ = options;
  last_step_ = 0;
  std::vector<uint64_t> closed;
  for (auto at = sequences_.open.begin(); at != sequences_.open.end();) {
    Sequence& sequence = at->second;
    sequence.carried = true;
    if (sequence.length <= options.context && sequences_.ledger.used() <= options.pages) {
      ++at;
    } else {
      closed.push_back(sequence.id);
      sequences_.ledger.Close(at->first);
      at = sequences_.open.erase(at);
    }
  }
  return closed;
}

std::optional<uint32_t> StageMachine::Length(const RequestId& request) const {
  const auto at = sequences_.open.find(request);
  if (at == sequences_.open.end()) return std::nullopt;
  return at->second.length;
}

bool StageMachine::IsDirty(const RequestId& request) const {
  const auto at = sequences_.open.find(request);
  return at != sequences_.open.end() && at->second.dirty;
}

}  // namespace exo::engine
