#include "engine/lead.h"

#include <algorithm>

#include "wire/plan.h"

namespace exo::engine {

struct LeadMachine::Request {
  uint64_t serial = 0;            // tells two uses of one request id apart
  wire::Submit submit;            // without the prompt: that is the beginning of `tokens`
  std::vector<TokenId> tokens;    // prompt and answer
  uint32_t start = 0;             // rows of the submitted prompt
  uint32_t max_tokens_total = 0;  // tokens.size() at the end
  uint32_t capacity = 0;
  uint32_t scheduled = 0;  // rows in steps so far
  uint32_t computed = 0;   // of them: results are back
  bool admitted = false;
  Time admitted_at{};
  Time first_token_at{};
  std::vector<wire::StageTime> times;

  bool decoding() const { return tokens.size() > start; }
  // A decoding request has a row to compute only when its last token came back.
  uint32_t pending() const { return static_cast<uint32_t>(tokens.size()) - scheduled; }
  uint32_t generated() const { return static_cast<uint32_t>(tokens.size()) - submit.prompt_tokens; }
};

struct LeadMachine::Flight {
  LeadStep step;
  std::vector<uint64_t> serials;  // of the items' requests
  Time started{};
};

namespace {

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, time.count() / 1000));
}

// A request's part of a step's compute time, by rows.
void AddTimes(std::vector<wire::StageTime>& total, std::span<const wire::StageTime> step,
              size_t rows, uint32_t all_rows) {
  for (const wire::StageTime& time : step.first(std::min<size_t>(step.size(), wire::kMaxStages))) {
    const auto at = std::find_if(total.begin(), total.end(), [&](const auto& t) {
      return t.node == time.node && t.layer_begin == time.layer_begin;
    });
    const uint64_t part = all_rows == 0 ? 0 : time.microseconds / all_rows * rows;
    if (at != total.end()) {
      at->microseconds += part;
    } else {
      total.push_back(time);
      total.back().microseconds = part;
    }
  }
}

}  // namespace

wire::Step ToWire(const PlanId& plan, const LeadStep& step) {
  wire::Step wire{.plan = plan, .step = step.step, .close = step.close};
  for (const LeadItem& item : step.items) {
    wire.items.push_back({.request = item.request,
                          .first = item.first,
                          .count = static_cast<uint32_t>(item.tokens.size()),
                          .capacity = item.capacity,
                          .wants_output = item.outputs != Outputs::kNone});
  }
  return wire;
}

LeadMachine::LeadMachine(LeadOptions options) : options_(options) {}
LeadMachine::~LeadMachine() = default;

Result<void> LeadMachine::Submit(const wire::Submit& submit, Time) {
  if (submit.plan != options_.plan) {
    return exo::Fail(ErrorCode::kInvalid, "request {} is for plan {}, this is {}",
                     submit.request.Short(), submit.plan.Short(), options_.plan.Short());
  }
  if (requests_.contains(submit.request)) {
    return exo::Fail(ErrorCode::kInvalid, "request {} is running already", submit.request.Short());
  }
  const uint64_t rows = submit.prompt.size();
  if (rows == 0 || rows >= options_.context || submit.prompt_tokens > rows) {
    return exo::Fail(ErrorCode::kInvalid, "a prompt of {} tokens, the context holds {} to {}", rows,
                     1, options_.context == 0 ? 0 : options_.context - 1);
  }
  const uint64_t prompt = submit.prompt_tokens == 0 ? rows : submit.prompt_tokens;
  const uint64_t most = std::min<uint64_t>(options_.context, prompt + submit.max_new_tokens);
  if (most <= rows)
    return exo::Fail(ErrorCode::kInvalid, "{} new tokens leave nothing to generate",
                     submit.max_new_tokens);
  if (queue_.size() >= options_.queue_limit) {
    return exo::Fail(ErrorCode::kOverloaded, "{} requests are waiting, the limit; try again later",
                     queue_.size());
  }
  auto request = std::make_unique<Request>();
  request->serial = next_serial_++;
  request->submit = submit;
  request->submit.prompt_tokens = static_cast<uint32_t>(prompt);
  request->tokens = std::move(request->submit.prompt);
  request->start = static_cast<uint32_t>(rows);
  request->max_tokens_total = static_cast<uint32_t>(most);
  // The last token of an answer is never fed back, so `most` positions are one more than needed at
  // most.
  request->capacity = static_cast<uint32_t>(
      std::min<uint64_t>(options_.context, RoundUp(most, wire::kCapacityUnit)));
  requests_.emplace(submit.request, std::move(request));
  queue_.push_back(submit.request);
  return {};
}

bool LeadMachine::Cancel(const RequestId& request) {
  if (!requests_.contains(request)) return false;
  Drop(request);
  return true;
}

// Removes a request; its sequences are closed with the next step. Results in flight for it become
// stale.
void LeadMachine::Drop(const RequestId& id) {
  const auto at = requests_.find(id);
  if (at->second->admitted) {
    used_positions_ -= at->second->capacity;
    std::erase(admitted_, id);
    if (at->second->scheduled > 0) closing_.push_back(id);
  } else {
    std::erase(queue_, id);
  }
  requests_.erase(at);
}

void LeadMachine::Admit(Time now) {
  while (!queue_.empty()) {
    Request& request = *requests_.at(queue_.front());
    if (used_positions_ + request.capacity > options_.kv_positions) return;
    used_positions_ += request.capacity;
    request.admitted = true;
    request.admitted_at = now;
    admitted_.push_back(queue_.front());
    queue_.pop_front();
  }
}

void LeadMachine::AddRows(LeadStep& step, Request& request, uint32_t rows) {
  const bool reaches_end = rows == request.pending();
  const auto begin = request.tokens.begin() + request.scheduled;
  step.items.push_back({.request = request.submit.request,
                        .first = request.scheduled,
                        .tokens = {begin, begin + rows},
                        .capacity = request.capacity,
                        .outputs = reaches_end ? Outputs::kLast : Outputs::kNone});
  request.scheduled += rows;
  step.rows += rows;
  step.outputs += reaches_end ? 1 : 0;
}

// A fair share of the decoding requests, so that every stage has a micro-batch to work on.
void LeadMachine::AddDecode(LeadStep& step) {
  const size_t count = admitted_.size();
  const auto decoding = static_cast<size_t>(
      std::count_if(admitted_.begin(), admitted_.end(),
                    [&](const RequestId& id) { return requests_.at(id)->decoding(); }));
  const size_t share =
      std::min<size_t>((decoding + options_.stages - 1) / options_.stages, options_.chunk);
  for (size_t i = 0; i < count && step.items.size() < share; ++i) {
    Request& request = *requests_.at(admitted_[(decode_turn_ + i) % count]);
    if (request.decoding() && request.pending() > 0) AddRows(step, request, 1);
  }
  if (count > 0) decode_turn_ = (decode_turn_ + share) % count;
  stats_.decode_rows += step.rows;
}

void LeadMachine::AddPrefill(LeadStep& step) {
  for (const RequestId& id : admitted_) {
    if (step.rows >= options_.chunk) return;
    Request& request = *requests_.at(id);
    if (request.decoding() || request.pending() == 0) continue;
    const uint32_t rows = std::min(request.pending(), options_.chunk - step.rows);
    AddRows(step, request, rows);
    stats_.prefill_rows += rows;
  }
}

std::optional<LeadStep> LeadMachine::NextStep(Time now) {
  if (in_flight_.size() >= options_.stages) return std::nullopt;
  Admit(now);
  LeadStep step;
  AddDecode(step);
  AddPrefill(step);
  if (step.items.empty() && closing_.empty()) return std::nullopt;
  step.step = next_step_++;
  step.close = std::move(closing_);
  closing_.clear();
  Flight flight{.step = step, .started = now};
  for (const LeadItem& item : step.items)
    flight.serials.push_back(requests_.at(item.request)->serial);
  in_flight_.emplace(step.step, std::move(flight));
  ++stats_.steps;
  return step;
}

Time LeadMachine::DeadlineOf(const Flight& flight) const {
  return std::max(flight.started, progress_) + kStepStall;
}

Result<void> LeadMachine::CheckOutputs(const LeadStep& step,
                                       std::span<const ItemOutput> outputs) const {
  if (outputs.size() != step.outputs) {
    return exo::Fail(ErrorCode::kInvalid, "step {}: {} outputs came back, {} were asked for",
                     step.step, outputs.size(), step.outputs);
  }
  size_t next = 0;
  for (const LeadItem& item : step.items) {
    if (item.outputs == Outputs::kNone) continue;
    const ItemOutput& output = outputs[next++];
    const size_t most = item.outputs == Outputs::kLast ? 1 : item.tokens.size();
    if (output.request != item.request || output.tokens.empty() || output.tokens.size() > most) {
      return exo::Fail(
          ErrorCode::kInvalid, "step {}: {} tokens for request {}, 1 to {} for {} were asked for",
          step.step, output.tokens.size(), output.request.Short(), most, item.request.Short());
    }
  }
  return {};
}

Result<std::vector<Emission>> LeadMachine::OnStepDone(uint64_t number,
                                                      std::span<const ItemOutput> outputs,
                                                      std::span<const wire::StageTime> times,
                                                      Time now) {
  const auto at = in_flight_.find(number);
  if (at == in_flight_.end()) {
    ++stats_.stale_steps;
    return std::vector<Emission>{};
  }
  TRY(CheckOutputs(at->second.step, outputs));
  NoteProgress(now);
  const Flight flight = std::move(at->second);
  in_flight_.erase(at);
  std::vector<Emission> emissions;
  size_t next = 0;
  for (size_t i = 0; i < flight.step.items.size(); ++i) {
    const LeadItem& item = flight.step.items[i];
    const ItemOutput* output = item.outputs == Outputs::kNone ? nullptr : &outputs[next++];
    const auto request = requests_.find(item.request);
    if (request == requests_.end() || request->second->serial != flight.serials[i]) {
      stats_.stale_outputs += output != nullptr;
      continue;
    }
    // Links keep order, so an earlier part is lost for good: waiting for it would be for ever.
    if (request->second->computed != item.first && !options_.plant_no_gap_check) {
      return exo::Fail(ErrorCode::kInvalid,
                       "step {}: request {} came back at position {}, expected {}", number,
                       item.request.Short(), item.first, request->second->computed);
    }
    AddTimes(request->second->times, times, item.tokens.size(), flight.step.rows);
    if (auto emission = Accept(*request->second, item, output, now))
      emissions.push_back(*std::move(emission));
  }
  return emissions;
}

std::optional<Emission> LeadMachine::Accept(Request& request, const LeadItem& item,
                                            const ItemOutput* output, Time now) {
  request.computed += static_cast<uint32_t>(item.tokens.size());
  if (output == nullptr) return std::nullopt;
  if (!request.decoding()) request.first_token_at = now;
  Emission emission{.request = item.request};
  std::optional<wire::FinishReason> reason;
  for (const TokenId token : output->tokens) {
    const auto& stops = request.submit.stop_tokens;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      reason = wire::FinishReason::kStop;
      break;
    }
    request.tokens.push_back(token);
    emission.tokens.push_back(token);
    if (request.tokens.size() >= request.max_tokens_total) {
      reason = wire::FinishReason::kLength;
      break;
    }
  }
  if (reason) {
    emission.finished =
        wire::Finished{.request = item.request,
                       .reason = *reason,
                       .generated = request.generated(),
                       .prefill_us = Microseconds(request.first_token_at - request.admitted_at),
                       .decode_us = Microseconds(now - request.first_token_at),
                       .stages = request.times};
    Drop(item.request);
  }
  return emission;
}

std::vector<Emission> LeadMachine::Fail(const Error& error) {
  std::vector<Emission> emissions;
  for (const auto& [id, request] : requests_) {
    emissions.push_back({.request = id,
                         .finished = wire::Finished{.request = id,
                                                    .reason = wire::FinishReason::kError,
                                                    .code = error.code,
                                                    .message = error.message,
                                                    .generated = request->generated()}});
  }
  requests_.clear();
  queue_.clear();
  admitted_.clear();
  in_flight_.clear();
  closing_.clear();
  used_positions_ = 0;
  return emissions;
}

Result<void> LeadMachine::CheckDeadlines(Time now) const {
  for (const auto& [number, flight] : in_flight_) {
    if (now <= DeadlineOf(flight)) continue;
    return exo::Fail(ErrorCode::kDisconnected,
                     "step {} ({} rows) did not come back, and no device has computed anything for "
                     "{} s",
                     number, flight.step.rows, kStepStall / std::chrono::seconds(1));
  }
  return {};
}

std::optional<Time> LeadMachine::NextDeadline() const {
  std::optional<Time> next;
  for (const auto& [number, flight] : in_flight_) {
    const Time deadline = DeadlineOf(flight);
    if (!next || deadline < *next) next = deadline;
  }
  return next;
}

std::optional<LeadMachine::View> LeadMachine::Find(const RequestId& id) const {
  const auto at = requests_.find(id);
  if (at == requests_.end()) return std::nullopt;
  return View{.tokens = at->second->tokens,
              .prompt_tokens = at->second->submit.prompt_tokens,
              .sampler = &at->second->submit.sampler};
}

const LeadStep* LeadMachine::InFlight(uint64_t step) const {
  const auto at = in_flight_.find(step);
  return at == in_flight_.end() ? nullptr : &at->second.step;
}

uint32_t LeadMachine::active() const {
  return static_cast<uint32_t>(admitted_.size());
}
uint32_t LeadMachine::queued() const {
  return static_cast<uint32_t>(queue_.size());
}

}  // namespace exo::engine
