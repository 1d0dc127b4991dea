#include "engine/stage.h"

#include <set>

namespace exo::engine {

// Everything about a step that can be wrong, before anything changes.
Result<void> StageMachine::CheckItems(const wire::Step& step) const {
  const std::set<RequestId> closed(step.close.begin(), step.close.end());
  uint64_t positions = used_positions_;
  for (const RequestId& request : closed) {
    const auto at = sequences_.find(request);
    if (at != sequences_.end()) positions -= at->second.capacity;
  }
  std::set<RequestId> seen;
  uint64_t rows = 0;
  for (const wire::StepItem& item : step.items) {
    const std::string name = item.request.Short();
    if (!seen.insert(item.request).second) {
      return Fail(ErrorCode::kInvalid, "step {}: request {} is there twice", step.step, name);
    }
    rows += item.count;
    if (item.count == 0 || rows > options_.chunk) {
      return Fail(ErrorCode::kInvalid, "step {}: {} rows, 1 to {} are allowed", step.step, rows,
                  options_.chunk);
    }
    const auto at = sequences_.find(item.request);
    const bool open = at != sequences_.end() && !closed.contains(item.request);
    const uint32_t length = open ? at->second.length : 0;
    if (item.first != length && !options_.plant_no_gap_check) {
      return Fail(ErrorCode::kInvalid,
                  "step {}: request {} continues at position {}, {} are computed", step.step, name,
                  item.first, length);
    }
    const uint32_t capacity = open ? at->second.capacity : item.capacity;
    if (capacity == 0 || capacity > options_.context) {
      return Fail(ErrorCode::kInvalid,
                  "step {}: request {} asks for {} positions, 1 to {} are allowed", step.step, name,
                  capacity, options_.context);
    }
    if (uint64_t{item.first} + item.count > capacity) {
      return Fail(ErrorCode::kInvalid, "step {}: request {} writes up to position {} of {}",
                  step.step, name, uint64_t{item.first} + item.count, capacity);
    }
    if (!open) positions += capacity;
  }
  if (positions > options_.kv_positions) {
    return Fail(ErrorCode::kOverloaded, "step {}: {} KV positions, the plan reserved {}", step.step,
                positions, options_.kv_positions);
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
  if (const auto checked = CheckItems(step); !checked) {
    ++stats_.refused;
    return std::unexpected(checked.error());
  }
  for (const RequestId& request : step.close) {
    const auto at = sequences_.find(request);
    if (at == sequences_.end()) continue;
    work.close.push_back(at->second.id);
    used_positions_ -= at->second.capacity;
    sequences_.erase(at);
  }
  for (const wire::StepItem& item : step.items) {
    const auto [at, is_new] = sequences_.try_emplace(item.request);
    if (is_new) {
      at->second = {.id = next_sequence_++, .length = 0, .capacity = item.capacity};
      used_positions_ += item.capacity;
      work.open.push_back({at->second.id, item.capacity});
    }
    work.segments.push_back({at->second.id, item.first, item.count});
    work.rows += item.count;
    if (item.wants_output) work.output_rows.push_back(work.rows - 1);
    pending_.push_back({item.request, item.first + item.count});
  }
  begun_ = true;
  last_step_ = step.step;
  return work;
}

void StageMachine::CommitStep() {
  for (const Pending& pending : pending_) {
    const auto at = sequences_.find(pending.request);
    if (at != sequences_.end()) at->second.length = pending.length;
  }
  stats_.steps += begun_ ? 1 : 0;
  AbortStep();
}

void StageMachine::AbortStep() {
  pending_.clear();
  begun_ = false;
}

Result<uint64_t> StageMachine::Truncate(const RequestId& request, uint32_t length) {
  const auto at = sequences_.find(request);
  if (at == sequences_.end())
    return Fail(ErrorCode::kNotFound, "request {} has no sequence here", request.Short());
  if (length > at->second.length) {
    return Fail(ErrorCode::kInvalid, "request {} has {} positions, cannot be cut to {}",
                request.Short(), at->second.length, length);
  }
  at->second.length = length;
  return at->second.id;
}

std::vector<uint64_t> StageMachine::CloseAll() {
  std::vector<uint64_t> open;
  for (const auto& [request, sequence] : sequences_) open.push_back(sequence.id);
  sequences_.clear();
  AbortStep();
  used_positions_ = 0;
  return open;
}

std::optional<uint32_t> StageMachine::Length(const RequestId& request) const {
  const auto at = sequences_.find(request);
  if (at == sequences_.end()) return std::nullopt;
  return at->second.length;
}

}  // namespace exo::engine
