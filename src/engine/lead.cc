#include "engine/lead.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/lead_request.h"
#include "engine/readout.h"
#include "wire/limits.h"
#include "wire/plan.h"

namespace exo::engine {

namespace {

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, time.count() / 1000));
}

bool Contains(std::span<const RequestId> requests, const RequestId& request) {
  return std::find(requests.begin(), requests.end(), request) != requests.end();
}

// `whole` * rows / all_rows without overflow: times come from other devices.
uint64_t PartByRows(uint64_t whole, size_t rows, uint32_t all_rows) {
  return all_rows == 0 ? 0 : whole / all_rows * rows + whole % all_rows * rows / all_rows;
}

// A request's part of a step's compute time, by rows.
void AddTimes(std::vector<wire::StageTime>& total, std::span<const wire::StageTime> step,
              size_t rows, uint32_t all_rows) {
  for (const wire::StageTime& time : step.first(std::min<size_t>(step.size(), wire::kMaxStages))) {
    const auto at = std::find_if(total.begin(), total.end(), [&](const auto& t) {
      return t.node == time.node && t.layer_begin == time.layer_begin;
    });
    const uint64_t part = PartByRows(time.microseconds, rows, all_rows);
    if (at != total.end()) {
      at->microseconds += part;
    } else if (total.size() < wire::kMaxStages) {
      total.push_back(time);
      total.back().microseconds = part;
    }
  }
}

}  // namespace

uint32_t OutputRows(const LeadItem& item) {
  switch (item.outputs) {
    case Outputs::kNone:
      return 0;
    case Outputs::kLast:
      return 1;
    case Outputs::kAll:
      return static_cast<uint32_t>(item.tokens.size());
  }
  return 0;
}

wire::Step ToWire(const PlanId& plan, const LeadStep& step) {
  wire::Step wire{.plan = plan,
                  .step = step.step,
                  .close = step.close,
                  .truncate = step.truncate,
                  .fork = step.fork,
                  .restore = step.restore};
  for (const LeadPage& page : step.store) wire.store.push_back(page.page);
  for (const LeadItem& item : step.items) {
    const auto count = static_cast<uint32_t>(item.tokens.size());
    const uint32_t outputs = OutputRows(item);
    wire.items.push_back({.request = item.request,
                          .first = item.first,
                          .count = count,
                          .output_first = outputs == 0 ? 0 : count - outputs,
                          .output_count = outputs,
                          .adapters = item.adapters});
  }
  return wire;
}

LeadMachine::LeadMachine(LeadOptions options)
    : options_(options),
      pace_(options.pace),
      ledger_(options.page, options.window),
      stored_(options.scope, options.page, options.window.positions) {
  CHECK(options_.pages >= ledger_.PagesOf(options_.context));
}
LeadMachine::~LeadMachine() = default;

Result<void> LeadMachine::Submit(wire::Submit submit, Time now,
                                 std::shared_ptr<const TokenMask> mask) {
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
  TRY(wire::CheckUses(submit.adapters, options_.adapters));
  if ((submit.readout == wire::Readout::kLogits) == submit.read_tokens.empty())
    return exo::Fail(ErrorCode::kInvalid, "{} tokens to read the logits of, in a request {} them",
                     submit.read_tokens.size(),
                     submit.readout == wire::Readout::kLogits ? "for" : "without");
  const auto waiting = std::ranges::count_if(
      queue_, [&](const RequestId& id) { return requests_.at(id)->admitted_at == Time{}; });
  if (waiting >= options_.queue_limit) {
    return exo::Fail(ErrorCode::kOverloaded, "{} requests are waiting, the limit; try again later",
                     waiting);
  }
  auto request = std::make_unique<Request>();
  request->serial = next_serial_++;
  request->submitted_at = now;
  const RequestId id = submit.request;
  request->submit = std::move(submit);
  request->mask = std::move(mask);
  request->submit.prompt_tokens = static_cast<uint32_t>(prompt);
  request->tokens = std::move(request->submit.prompt);
  request->start = static_cast<uint32_t>(rows);
  request->max_tokens_total = static_cast<uint32_t>(most);
  CloseKept(id);
  CloseKept(PromptEndOf(id));
  requests_.emplace(id, std::move(request));
  queue_.push_back(id);
  return {};
}

bool LeadMachine::Cancel(const RequestId& request) {
  if (!requests_.contains(request)) return false;
  Drop(request);
  return true;
}

bool LeadMachine::Pause(const RequestId& request, bool paused) {
  const auto at = requests_.find(request);
  if (at == requests_.end()) return false;
  at->second->paused = paused;
  return true;
}

// While nobody waits for a token there is one step for each stage and one for each link between
// them, so that no stage waits for rows on their way. What is in flight stands before the next
// token, so beside running streams it is no more than the stages.
size_t LeadMachine::MostInFlight() const {
  const bool streams = std::ranges::any_of(
      admitted_, [&](const RequestId& id) { return requests_.at(id)->decoding(); });
  return streams ? options_.stages : size_t{2} * options_.stages - 1;
}

// Steps in flight that are not only guesses.
size_t LeadMachine::WaitedFor() const {
  return static_cast<size_t>(
      std::ranges::count_if(in_flight_, [](const auto& flight) { return !flight.second.ahead; }));
}

std::optional<LeadStep> LeadMachine::NextStep(Time now) {
  const size_t waited_for = WaitedFor();
  if (waited_for >= MostInFlight()) return std::nullopt;
  for (const RequestId& sequence : std::exchange(covered_, {})) CloseKept(sequence);
  LeadStep step;
  StepPace::Rows rows;
  const uint64_t put_back = stats_.put_back;
  AddDecode(step, rows);
  if (stats_.put_back == put_back) Admit(step, now);
  AddPrefill(step, rows);
  const bool waits = step.items.empty();
  AddAhead(step, rows);
  AddRestores(step);
  AddStore(step, now);
  if (step.items.empty() && closing_.empty() && step.restore.empty() && step.store.empty())
    return std::nullopt;
  step.step = next_step_++;
  step.close = std::move(closing_);
  closing_.clear();
  step.truncate = std::exchange(truncating_, {});
  Flight flight{.step = step,
                .rows = rows,
                .begun = now,
                .depth = waited_for + 1,
                .ahead = waits && !step.items.empty(),
                .beside_ahead = in_flight_.size() > waited_for,
                .load = pace_.VisitCost(rows.drafts)};
  for (const LeadItem& item : step.items)
    flight.serials.push_back(requests_.at(item.request)->serial);
  for (const wire::StepPage& page : step.restore)
    flight.restore_serials.push_back(requests_.at(page.request)->serial);
  in_flight_.emplace(step.step, std::move(flight));
  CHECK(in_flight_.size() <= size_t{2} * options_.stages + options_.windows);
  ++stats_.steps;
  return step;
}

Result<void> LeadMachine::CheckOutputs(const LeadStep& step, std::span<const ItemOutput> outputs,
                                       std::span<const RequestId> cancelled) const {
  const auto returns = [&](const LeadItem& item) {
    return item.outputs != Outputs::kNone && !Contains(cancelled, item.request);
  };
  const auto expected =
      static_cast<size_t>(std::count_if(step.items.begin(), step.items.end(), returns));
  if (outputs.size() != expected) {
    return exo::Fail(ErrorCode::kInvalid,
                     "step {}: outputs of {} items came back, {} were asked for", step.step,
                     outputs.size(), expected);
  }
  size_t next = 0;
  for (const LeadItem& item : step.items) {
    if (!returns(item)) continue;
    const ItemOutput& output = outputs[next++];
    const size_t most = OutputRows(item);
    const bool reads = item.readout != wire::Readout::kNone;
    if (output.request != item.request || output.tokens.empty() != reads ||
        output.tokens.size() > most) {
      return exo::Fail(
          ErrorCode::kInvalid, "step {}: {} tokens for request {}, 1 to {} for {} were asked for",
          step.step, output.tokens.size(), output.request.Short(), most, item.request.Short());
    }
  }
  return {};
}

void LeadMachine::OnRowsBack(uint64_t step, std::span<const wire::StageTime> times, Time now) {
  const auto at = in_flight_.find(step);
  if (at == in_flight_.end()) return;
  at->second.returned = now;
  for (const wire::StageTime& time : times.first(std::min<size_t>(times.size(), wire::kMaxStages)))
    at->second.stage_us.push_back(time.microseconds);
}

void LeadMachine::AddTrace(Request& request, const Flight& flight, const LeadItem& item, Time now) {
  if (request.steps.size() >= wire::kMaxStepTraces) {
    ++request.steps_dropped;
    return;
  }
  const auto since = [&](Time time) { return Microseconds(time - request.submitted_at); };
  request.steps.push_back({.begun_us = since(flight.begun),
                           .returned_us = since(flight.returned.value_or(now)),
                           .done_us = since(now),
                           .rows = static_cast<uint32_t>(item.tokens.size()),
                           .step_rows = flight.step.rows,
                           .outputs = flight.step.outputs,
                           .stage_us = flight.stage_us});
}

void LeadMachine::LearnPace(const Flight& flight, std::span<const wire::StageTime> times,
                            Time now) {
  chunk_size_.Learn(flight.step.rows, times);
  // What windows ahead take from each other is not the pace of a step.
  if (flight.ahead || flight.beside_ahead) return;
  // As if it had not waited for steps beyond those of the stages.
  const auto stages = static_cast<int64_t>(options_.stages);
  const int64_t depth = std::max(stages, static_cast<int64_t>(flight.depth));
  uint64_t longest_us = 0;
  for (const wire::StageTime& time : times) longest_us = std::max(longest_us, time.microseconds);
  const Time visit = std::chrono::microseconds(std::min<uint64_t>(longest_us, INT32_MAX));
  pace_.Learn(flight.rows, (now - flight.begun) * stages / depth, visit);
}

Result<std::vector<Emission>> LeadMachine::OnStepDone(uint64_t number,
                                                      std::span<const ItemOutput> outputs,
                                                      std::span<const wire::StageTime> times,
                                                      Time now,
                                                      std::span<const RequestId> cancelled) {
  const auto at = in_flight_.find(number);
  if (at == in_flight_.end()) {
    ++stats_.stale_steps;
    return std::vector<Emission>{};
  }
  TRY(CheckOutputs(at->second.step, outputs, cancelled));
  ++stats_.returned_steps;
  const Flight flight = std::move(at->second);
  in_flight_.erase(at);
  // Reading and copying pages says nothing of the pace of rows.
  const bool pages = !flight.step.restore.empty() || !flight.step.store.empty();
  if (cancelled.empty() && !pages) LearnPace(flight, times, now);
  std::vector<Emission> emissions;
  size_t next = 0;
  for (size_t i = 0; i < flight.step.items.size(); ++i) {
    const LeadItem& item = flight.step.items[i];
    const bool given_up = Contains(cancelled, item.request);
    const ItemOutput* output =
        item.outputs == Outputs::kNone || given_up ? nullptr : &outputs[next++];
    const auto request = requests_.find(item.request);
    if (request == requests_.end() || request->second->serial != flight.serials[i]) {
      stats_.stale_outputs += output != nullptr;
      continue;
    }
    if (given_up) {
      emissions.push_back(GiveUp(*request->second));
      Drop(item.request);
      continue;
    }
    // Links keep order, so an earlier part is lost for good: waiting for it would be forever.
    if (request->second->computed != item.first && !options_.plant_no_gap_check) {
      return exo::Fail(ErrorCode::kInvalid,
                       "step {}: request {} came back at position {}, expected {}", number,
                       item.request.Short(), item.first, request->second->computed);
    }
    AddTimes(request->second->times, times, item.tokens.size(), flight.step.rows);
    AddTrace(*request->second, flight, item, now);
    const auto accept =
        request->second->reads() ? &LeadMachine::AcceptReadout : &LeadMachine::Accept;
    if (auto emission = (this->*accept)(*request->second, item, output, now))
      emissions.push_back(*std::move(emission));
  }
  return emissions;
}

Emission LeadMachine::EmissionOf(Request& request) {
  return {.request = request.submit.request,
          .cached = request.cached,
          .steps = std::exchange(request.steps, {}),
          .steps_dropped = std::exchange(request.steps_dropped, 0),
          .computed = request.computed};
}

// Of the window that is back.
void LeadMachine::CountAccepted(Request& request, uint32_t drafted, uint32_t accepted) {
  const uint32_t match = request.windows.empty() ? 0 : request.windows.front();
  if (match > 0) request.payoff.OnDrafted(match, drafted, accepted);
  stats_.accepted_drafts += accepted;
  request.accepted += accepted;
}

std::optional<Emission> LeadMachine::Accept(Request& request, const LeadItem& item,
                                            const ItemOutput* output, Time now) {
  // With drafts the rows up to the last accepted one count; the rest is truncated.
  const auto rows = static_cast<uint32_t>(item.tokens.size());
  const bool drafted = item.outputs == Outputs::kAll;
  request.computed += drafted ? static_cast<uint32_t>(output->tokens.size()) : rows;
  if (drafted) {
    CountAccepted(request, rows - 1, static_cast<uint32_t>(output->tokens.size()) - 1);
  } else {
    request.payoff.OnPlain();
  }
  if (!request.windows.empty()) request.windows.pop_front();
  if (output == nullptr) {
    if (request.computed / options_.page == item.first / options_.page) return std::nullopt;
    return Emission{.request = item.request, .computed = request.computed};
  }
  if (request.first_token_at == Time{}) request.first_token_at = now;
  Emission emission = EmissionOf(request);
  std::optional<wire::FinishReason> reason;
  std::vector<TokenId> tokens = output->tokens;
  tokens.insert(tokens.end(), output->forced.begin(), output->forced.end());
  for (const TokenId token : tokens) {
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
  if (!reason && output->ended) reason = wire::FinishReason::kStop;
  request.submit.state = output->state;
  emission.state = output->state;
  emission.stages = request.times;
  emission.logprobs = wire::Part(output->logprobs, output->tokens.size(), 0,
                                 std::min(output->tokens.size(), emission.tokens.size()));
  if (reason) {
    emission.finished = EndOf(request, *reason, now);
    TellStale(request);
    Drop(item.request);
  } else {
    const bool whole = !drafted || output->tokens.size() == rows;
    Confirm(request, tokens, whole && output->forced.empty());
  }
  return emission;
}

// It ends with the last row of its prompt.
std::optional<Emission> LeadMachine::AcceptReadout(Request& request, const LeadItem& item,
                                                   const ItemOutput* output, Time now) {
  request.computed += static_cast<uint32_t>(item.tokens.size());
  if (output != nullptr) request.sum = output->sum;
  if (request.computed < request.tokens.size()) return std::nullopt;
  CHECK(output != nullptr);  // a last item has outputs
  request.first_token_at = now;
  Emission emission = EmissionOf(request);
  emission.finished = EndOf(request, wire::FinishReason::kStop, now);
  const bool mean = request.submit.readout == wire::Readout::kMean;
  emission.finished->values =
      mean ? MeanState(request.sum, static_cast<uint32_t>(request.tokens.size())) : output->values;
  Drop(item.request);
  return emission;
}

wire::Finished LeadMachine::EndOf(const Request& request, wire::FinishReason reason,
                                  Time now) const {
  return {.request = request.submit.request,
          .reason = reason,
          .generated = request.generated(),
          .prefill_us = Microseconds(request.first_token_at - request.admitted_at),
          .decode_us = Microseconds(now - request.first_token_at),
          .stages = request.times,
          .drafted = request.drafted,
          .accepted = request.accepted};
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
  stale_.clear();
  closing_.clear();
  truncating_.clear();
  covered_.clear();
  kept_.Clear();
  storing_.clear();
  ledger_ = PageLedger(options_.page, options_.window);
  return emissions;
}

Emission LeadMachine::GiveUp(const Request& request) {
  const RequestId& id = request.submit.request;
  return {.request = id,
          .finished = wire::Finished{.request = id,
                                     .reason = wire::FinishReason::kError,
                                     .code = ErrorCode::kDisconnected,
                                     .message = "a stage stopped computing this request, though it "
                                                "was not canceled; try again",
                                     .generated = request.generated()}};
}

std::optional<LeadMachine::View> LeadMachine::Find(const RequestId& id) const {
  const auto at = requests_.find(id);
  if (at == requests_.end()) return std::nullopt;
  return View{.tokens = at->second->tokens,
              .prompt_tokens = at->second->submit.prompt_tokens,
              .sampler = &at->second->submit.sampler,
              .state = &at->second->submit.state,
              .mask = at->second->mask.get(),
              .read_tokens = at->second->submit.read_tokens,
              .sum = at->second->sum};
}

const LeadStep* LeadMachine::InFlight(uint64_t step) const {
  const auto at = in_flight_.find(step);
  return at == in_flight_.end() ? nullptr : &at->second.step;
}

bool LeadMachine::IsStale(uint64_t step, size_t item) const {
  const auto at = in_flight_.find(step);
  if (at == in_flight_.end()) return true;
  const auto request = requests_.find(at->second.step.items[item].request);
  return request == requests_.end() || request->second->serial != at->second.serials[item];
}

bool LeadMachine::Awaits(uint64_t step) const {
  const LeadStep* in_flight = InFlight(step);
  if (in_flight == nullptr) return false;
  for (size_t i = 0; i < in_flight->items.size(); ++i) {
    if (in_flight->items[i].outputs != Outputs::kNone && !IsStale(step, i)) return true;
  }
  return false;
}

uint32_t LeadMachine::active() const {
  return static_cast<uint32_t>(admitted_.size());
}
uint32_t LeadMachine::queued() const {
  return static_cast<uint32_t>(queue_.size());
}

}  // namespace exo::engine
