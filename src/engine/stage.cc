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
  const auto fits = [&] { return after.ledger.Fits(options_.pages, request, first, end); };
  for (auto at = after.open.begin(); at != after.open.end() && !fits();) {
    const auto next = std::next(at);
    if (at->second.carried) CloseOne(at, after, work);
    at = next;
  }
  if (!fits()) {
    return Fail(ErrorCode::kOverloaded, "step {}: {} pages of KV, the plan reserved {}", step.step,
                after.ledger.used() + after.ledger.Needs(request, first, end), options_.pages);
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
  if (!after.ledger.Reaches(fork.from, fork.length)) {
    return Fail(ErrorCode::kInvalid,
                "step {}: a fork of request {} at position {}, where a window is gone", step.step,
                fork.from.Short(), fork.length);
  }
  Sequence& to = OpenOne(fork.to, after);
  to.length = fork.length;
  to.adapters = source.adapters;
  after.ledger.Share(fork.from, fork.length, fork.to);
  work.fork.push_back({source.id, to.id, fork.length});
  return {};
}

Result<void> StageMachine::CheckRestored(const wire::Step& step, const wire::StepPage& page) const {
  const uint64_t end = uint64_t{page.first} + page.count;
  if (page.count == 0 || page.count > options_.page || page.first % options_.page != 0 ||
      end > options_.context) {
    return Fail(ErrorCode::kInvalid,
                "step {}: positions {} to {} of request {} are no page of {} in a context of {}",
                step.step, page.first, end, page.request.Short(), options_.page, options_.context);
  }
  if (page.bare && (page.count != options_.page || options_.window.positions == 0)) {
    return Fail(ErrorCode::kInvalid,
                "step {}: {} positions of request {} without windows, in a model {} windows",
                step.step, page.count, page.request.Short(),
                options_.window.positions == 0 ? "without" : "with");
  }
  if (const auto checked = wire::CheckUses(page.adapters, options_.adapters); !checked) {
    return Fail(ErrorCode::kInvalid, "step {}: request {}: {}", step.step, page.request.Short(),
                checked.error().message);
  }
  return {};
}

Result<void> StageMachine::RestoreOne(const wire::Step& step, size_t index, Sequences& after,
                                      StageWork& work) const {
  const wire::StepPage& page = step.restore[index];
  TRY(CheckRestored(step, page));
  const uint32_t end = page.first + page.count;
  auto at = after.open.find(page.request);
  if (at != after.open.end() && at->second.carried && page.first == 0) {
    CloseOne(at, after, work);
    at = after.open.end();
  }
  if (at == after.open.end() && page.first == 0) {
    Sequence& opened = OpenOne(page.request, after);
    opened.adapters = page.adapters;
    work.open.push_back({opened.id, page.adapters});
    at = after.open.find(page.request);
  }
  if (at != after.open.end() && (at->second.dirty || page.lost)) {
    at->second.dirty = true;
    work.lost.push_back(static_cast<uint32_t>(index));
    return {};
  }
  if (at == after.open.end() || at->second.carried || page.first != at->second.length) {
    return Fail(ErrorCode::kInvalid, "step {}: a page at position {} of request {}, which has {}",
                step.step, page.first, page.request.Short(),
                at == after.open.end() ? 0 : at->second.length);
  }
  if (at->second.adapters != page.adapters) {
    return Fail(ErrorCode::kInvalid, "step {}: request {} goes on with other adapters", step.step,
                page.request.Short());
  }
  TRY(TakePages(step, page.request, page.first, end, after, work));
  at->second.in_work = true;
  if (page.bare) after.ledger.Skip(page.request, end);
  at->second.length = end;
  work.restore.push_back(
      {at->second.id, page.first, page.count, static_cast<uint32_t>(index), page.bare});
  return {};
}

// Rows of the same step are not part of it yet.
Result<void> StageMachine::StoreOne(const wire::Step& step, size_t index, const Sequences& after,
                                    StageWork& work) const {
  const wire::StepPage& page = step.store[index];
  const uint64_t end = uint64_t{page.first} + page.count;
  const auto at = after.open.find(page.request);
  if (page.lost || at == after.open.end() || at->second.dirty || at->second.carried) {
    work.not_taken.push_back(static_cast<uint32_t>(index));
    return {};
  }
  if (page.count == 0 || page.count > options_.page || page.first % options_.page != 0 ||
      end > at->second.length) {
    return Fail(ErrorCode::kInvalid,
                "step {}: positions {} to {} of request {}, which has {}, are no page of {}",
                step.step, page.first, end, page.request.Short(), at->second.length, options_.page);
  }
  if (!page.bare && !after.ledger.HasWindows(page.request, page.first)) {
    return Fail(ErrorCode::kInvalid,
                "step {}: position {} of request {} is to be stored with windows that are gone",
                step.step, page.first, page.request.Short());
  }
  work.store.push_back(
      {at->second.id, page.first, page.count, static_cast<uint32_t>(index), page.bare});
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
    if (!after.ledger.Reaches(cut.request, cut.length)) {
      return Fail(ErrorCode::kInvalid, "step {}: request {} is cut to {}, where a window is gone",
                  step.step, cut.request.Short(), cut.length);
    }
    at->second.length = cut.length;
    at->second.dirty = at->second.carried = at->second.in_work = false;
    after.ledger.Truncate(cut.request, cut.length);
    work.truncate.push_back({at->second.id, cut.length});
  }
  for (const wire::StepFork& fork : step.fork) TRY(ForkOne(step, fork, after, work));
  for (size_t i = 0; i < step.restore.size(); ++i) TRY(RestoreOne(step, i, after, work));
  return {};
}

StageMachine::Sequence* StageMachine::FindFor(const wire::StepItem& item, Sequences& after,
                                              StageWork& work) {
  const auto at = after.open.find(item.request);
  if (at == after.open.end()) return nullptr;
  Sequence& carried = at->second;
  if (!carried.carried || item.first > carried.length ||
      !after.ledger.Reaches(item.request, item.first))
    return &carried;
  if (item.first == 0) {
    CloseOne(at, after, work);
    return nullptr;
  }
  carried.carried = carried.dirty = false;
  carried.length = item.first;
  after.ledger.Truncate(item.request, item.first);
  work.truncate.push_back({carried.id, carried.length});
  return &carried;
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
  if (const auto checked = wire::CheckUses(item.adapters, options_.adapters); !checked) {
    return Fail(ErrorCode::kInvalid, "step {}: request {}: {}", step.step, name,
                checked.error().message);
  }
  Sequence* sequence = FindFor(item, after, work);
  if (item.cancelled || (sequence != nullptr && sequence->dirty)) {
    if (sequence != nullptr && !options_.plant_commit_cancelled) sequence->dirty = true;
    if (sequence != nullptr && options_.plant_commit_cancelled)
      pending.push_back({item.request, static_cast<uint32_t>(end)});
    work.cancelled.push_back(static_cast<uint32_t>(index));
    if (!item.cancelled) work.rows_in += item.count;
    return {};
  }
  if (sequence != nullptr && sequence->adapters != item.adapters) {
    return Fail(ErrorCode::kInvalid, "step {}: request {} goes on with other adapters", step.step,
                name);
  }
  const uint32_t length = sequence == nullptr ? 0 : sequence->length;
  const bool reaches = after.ledger.Reaches(item.request, item.first);
  if ((item.first != length || !reaches) && !options_.plant_no_gap_check) {
    return Fail(ErrorCode::kInvalid,
                "step {}: request {} continues at position {}, {} are computed{}", step.step, name,
                item.first, length, reaches ? "" : " and a window there is gone");
  }
  if (end > options_.context) {
    return Fail(ErrorCode::kInvalid, "step {}: request {} writes up to position {} of {}",
                step.step, name, end, options_.context);
  }
  if (sequence == nullptr) {
    sequence = &OpenOne(item.request, after);
    sequence->adapters = item.adapters;
    work.open.push_back({sequence->id, item.adapters});
  }
  TRY(TakePages(step, item.request, std::min(item.first, length), static_cast<uint32_t>(end), after,
                work));
  sequence->in_work = true;
  work.segments.push_back({sequence->id, item.first, item.count, work.rows_in});
  for (uint32_t i = 0; i < item.output_count; ++i)
    work.output_rows.push_back(work.rows + item.output_first + i);
  work.rows_in += item.count;
  work.rows += item.count;
  pending.push_back({item.request, static_cast<uint32_t>(end)});
  return {};
}

Result<void> StageMachine::AddItems(const wire::Step& step, Sequences& after, StageWork& work,
                                    std::vector<Pending>& pending) const {
  std::set<RequestId> seen;
  for (const wire::StepPage& page : step.restore) seen.insert(page.request);
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
    TRY(AddItems(step, after, work, pending));
    for (size_t i = 0; i < step.store.size(); ++i) TRY(StoreOne(step, i, after, work));
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

void StageMachine::LosePage(const wire::StepPage& page) {
  const auto at = sequences_.open.find(page.request);
  CHECK(begun_ && at != sequences_.open.end());
  at->second.length = page.first;
  at->second.dirty = true;
  sequences_.ledger.Truncate(page.request, page.first);
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
  sequences_.ledger.Rebind(options.window);
  last_step_ = 0;
  std::vector<uint64_t> closed;
  for (auto at = sequences_.open.begin(); at != sequences_.open.end();) {
    Sequence& sequence = at->second;
    sequence.carried = true;
    if (sequence.length <= options.context && sequences_.ledger.Within(options.pages)) {
      ++at;
    } else {
      closed.push_back(sequence.id);
      sequences_.ledger.Close(at->first);
      at = sequences_.open.erase(at);
    }
  }
  return closed;
}

// A sequence that an ended request leaves is cut to its text and has no rows behind that.
std::vector<StageMachine::Left> StageMachine::Leave() {
  std::vector<Left> all;
  for (auto at = sequences_.open.begin(); at != sequences_.open.end();) {
    const auto& [request, sequence] = *at;
    if (sequence.carried || !sequence.in_work) {
      ++at;
      continue;
    }
    Left left{.request = request, .sequence = sequence.id, .length = sequence.length, .whole = {}};
    for (uint32_t first = 0; first < left.length; first += options_.page)
      left.whole.push_back(sequences_.ledger.HasWindows(request, first));
    all.push_back(std::move(left));
    sequences_.ledger.Close(request);
    at = sequences_.open.erase(at);
  }
  return all;
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
