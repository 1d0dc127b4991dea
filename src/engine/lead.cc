#include "engine/lead.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "wire/plan.h"

namespace exo::engine {

struct LeadMachine::Request {
  uint64_t serial = 0;            // tells two uses of one request id apart
  wire::Submit submit;            // without the prompt: that is the beginning of `tokens`
  std::vector<TokenId> tokens;    // prompt and answer
  uint32_t start = 0;             // tokens that were known when it began, or began again
  uint32_t max_tokens_total = 0;  // tokens.size() at the end
  uint32_t cached = 0;            // rows taken over from other sequences, at the first admission
  uint32_t scheduled = 0;         // rows in steps so far
  uint32_t computed = 0;          // of them: results are back
  bool admitted = false;
  bool paused = false;
  std::vector<TokenId> draft;  // for the next decode item
  Time admitted_at{};
  Time first_token_at{};
  std::vector<wire::StageTime> times;

  bool decoding() const { return tokens.size() > start; }
  // A decoding request has a row to compute only when its last token came back. While drafts are in
  // flight more rows are scheduled than there are tokens.
  uint32_t pending() const {
    const auto known = static_cast<uint32_t>(tokens.size());
    return known > scheduled ? known - scheduled : 0;
  }
  uint32_t generated() const { return static_cast<uint32_t>(tokens.size()) - submit.prompt_tokens; }
};

struct LeadMachine::Flight {
  LeadStep step;
  std::vector<uint64_t> serials;  // of the items' requests
};

namespace {

uint64_t Microseconds(Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, time.count() / 1000));
}

bool Contains(std::span<const RequestId> requests, const RequestId& request) {
  return std::find(requests.begin(), requests.end(), request) != requests.end();
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
                  .fork = step.fork};
  for (const LeadItem& item : step.items) {
    const auto count = static_cast<uint32_t>(item.tokens.size());
    const uint32_t outputs = OutputRows(item);
    wire.items.push_back({.request = item.request,
                          .first = item.first,
                          .count = count,
                          .output_first = outputs == 0 ? 0 : count - outputs,
                          .output_count = outputs});
  }
  return wire;
}

LeadMachine::LeadMachine(LeadOptions options) : options_(options), ledger_(options.page) {
  CHECK(options_.pages >= ledger_.PagesOf(options_.context));
}
LeadMachine::~LeadMachine() = default;

Result<void> LeadMachine::Submit(wire::Submit submit, Time) {
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
  const RequestId id = submit.request;
  request->submit = std::move(submit);
  request->submit.prompt_tokens = static_cast<uint32_t>(prompt);
  request->tokens = std::move(request->submit.prompt);
  request->start = static_cast<uint32_t>(rows);
  request->max_tokens_total = static_cast<uint32_t>(most);
  CloseKept(id);
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

void LeadMachine::Draft(const RequestId& request, std::vector<TokenId> tokens) {
  const auto at = requests_.find(request);
  if (at == requests_.end() || !at->second->decoding() || at->second->pending() != 1) return;
  at->second->draft = std::move(tokens);
}

// Results in flight for it become stale.
void LeadMachine::Drop(const RequestId& id) {
  Request& request = *requests_.at(id);
  if (!request.admitted) {
    std::erase(queue_, id);
  } else {
    std::erase(admitted_, id);
    if (request.computed > 0 && options_.prefix_cache) {
      Keep(request);
    } else {
      Close(request);
    }
  }
  requests_.erase(id);
}

void LeadMachine::CloseSequence(const RequestId& sequence) {
  std::erase_if(truncating_, [&](const auto& cut) { return cut.request == sequence; });
  ledger_.Close(sequence);
  closing_.push_back(sequence);
}

void LeadMachine::Close(const Request& request) {
  if (request.scheduled > 0) return CloseSequence(request.submit.request);
  ledger_.Close(request.submit.request);  // no stage has heard of it
}

void LeadMachine::CloseKept(const RequestId& sequence) {
  if (kept_.Forget(sequence)) CloseSequence(sequence);
}

void LeadMachine::Cut(const RequestId& sequence, uint32_t length) {
  std::erase_if(truncating_, [&](const auto& cut) { return cut.request == sequence; });
  truncating_.push_back({sequence, length});
  ledger_.Truncate(sequence, length);
}

// Of two sequences of which one begins with all of the other, only the longer one is kept.
void LeadMachine::Keep(Request& request) {
  const RequestId& id = request.submit.request;
  // Fewer tokens than computed rows: accepted drafts behind a stop token.
  request.tokens.resize(std::min<size_t>(request.computed, request.tokens.size()));
  const auto length = static_cast<uint32_t>(request.tokens.size());
  if (const auto match = kept_.Find(request.tokens)) {
    if (match->length == length) return Close(request);
    if (match->whole) CloseKept(match->sequence);
  }
  Cut(id, length);  // also what makes the stages forget that it was cancelled
  kept_.Keep(id, std::move(request.tokens));
  while (kept_.size() > PrefixIndex::kMost)
    CloseKept(*kept_.Oldest([](const RequestId&) { return true; }));
}

// The request waits again, before all others; what it computed is computed anew.
void LeadMachine::PutBack(Request& request) {
  const RequestId& id = request.submit.request;
  Close(request);
  std::erase(admitted_, id);
  queue_.push_front(id);
  request.admitted = false;
  request.serial = next_serial_++;  // results in flight are stale
  request.start = static_cast<uint32_t>(request.tokens.size());
  request.scheduled = request.computed = 0;
  request.draft.clear();
  ++stats_.put_back;
}

bool LeadMachine::TakePages(const LeadStep& step, const RequestId& request, uint32_t first,
                            uint32_t end) {
  const auto may_go = [&](const RequestId& sequence) {
    return std::ranges::none_of(step.fork, [&](const auto& fork) { return fork.from == sequence; });
  };
  while (ledger_.used() + ledger_.Needs(request, first, end) > options_.pages) {
    const auto oldest = kept_.Oldest(may_go);
    if (!oldest) return false;
    CloseKept(*oldest);
  }
  ledger_.Write(request, first, end);
  return true;
}

// Pages for a decode item, at last those of a paused or a younger request that is not in the step.
bool LeadMachine::TakeDecodePages(const LeadStep& step, const Request& request, uint32_t end) {
  const RequestId& id = request.submit.request;
  while (!TakePages(step, id, request.scheduled, end)) {
    Request* loser = nullptr;
    for (const RequestId& each : admitted_) {
      Request& other = *requests_.at(each);
      const bool in_step = std::ranges::any_of(
          step.items, [&](const LeadItem& item) { return item.request == each; });
      if (!in_step && (loser == nullptr || other.paused || !loser->paused)) loser = &other;
    }
    CHECK(loser != nullptr && admitted_.size() > 1);
    if (loser == &request) return false;
    PutBack(*loser);
  }
  return true;
}

std::optional<PrefixIndex::Match> LeadMachine::FindPrefix(const Request& request) {
  if (!options_.prefix_cache) return std::nullopt;
  // One row at least is computed: its logits are the next token's.
  const auto tokens = std::span(request.tokens).first(request.tokens.size() - 1);
  auto best = kept_.Find(tokens);
  for (const RequestId& id : admitted_) {
    const Request& other = *requests_.at(id);
    const uint32_t common = CommonPrefix(std::span(other.tokens).first(other.computed), tokens);
    if (common > (best ? best->length : 0)) best = PrefixIndex::Match{id, common, false};
  }
  if (best && best->length < options_.least_shared) return std::nullopt;
  return best;
}

// If there are pages for its prompt and the first token behind it.
bool LeadMachine::AdmitOne(LeadStep& step, Request& request, Time now) {
  const RequestId& id = request.submit.request;
  const auto rows = static_cast<uint32_t>(request.tokens.size());
  auto shared = FindPrefix(request);
  if (shared) {
    step.fork.push_back({shared->sequence, id, shared->length});
    ledger_.Share(shared->sequence, shared->length, id);
    if (!TakePages(step, id, shared->length, rows + 1)) {
      step.fork.pop_back();
      ledger_.Close(id);
      shared.reset();
      if (!admitted_.empty()) return false;  // they will end, and the prefix may last
    }
  }
  if (!shared && !TakePages(step, id, 0, rows + 1)) return false;
  if (shared && shared->whole) covered_.push_back(shared->sequence);
  std::erase(queue_, id);
  admitted_.push_back(id);
  request.admitted = true;
  request.scheduled = request.computed = shared ? shared->length : 0;
  if (request.admitted_at == Time{}) {
    request.admitted_at = now;
    request.cached = request.computed;
    stats_.cached_rows += request.computed;
  }
  return true;
}

// First come first served, but for those whose reader does not read.
void LeadMachine::Admit(LeadStep& step, Time now) {
  const auto ready = [&](const RequestId& id) { return !requests_.at(id)->paused; };
  for (;;) {
    const auto first = std::ranges::find_if(queue_, ready);
    if (first == queue_.end() || !AdmitOne(step, *requests_.at(*first), now)) return;
  }
}

void LeadMachine::AddRows(LeadStep& step, Request& request, uint32_t rows) {
  // Its pages were taken when it was admitted.
  CHECK(ledger_.Needs(request.submit.request, request.scheduled, request.scheduled + rows) == 0);
  const bool reaches_end = rows == request.pending();
  const auto begin = request.tokens.begin() + request.scheduled;
  step.items.push_back({.request = request.submit.request,
                        .first = request.scheduled,
                        .tokens = {begin, begin + rows},
                        .outputs = reaches_end ? Outputs::kLast : Outputs::kNone});
  request.scheduled += rows;
  step.rows += rows;
  step.outputs += reaches_end ? 1 : 0;
}

// The last token of the answer, and the drafts behind it as far as there is room.
void LeadMachine::AddDecodeItem(LeadStep& step, Request& request) {
  const uint32_t room =
      std::min(options_.chunk - step.rows, request.max_tokens_total - request.scheduled);
  auto drafts = static_cast<uint32_t>(std::min<size_t>(request.draft.size(), room - 1));
  // Drafts are not worth another request's pages.
  const uint32_t end = request.scheduled + 1;
  if (drafts > 0 && !TakePages(step, request.submit.request, request.scheduled, end + drafts))
    drafts = 0;
  if (drafts == 0 && !TakeDecodePages(step, request, end)) return;
  LeadItem item{.request = request.submit.request,
                .first = request.scheduled,
                .tokens = {request.tokens.back()},
                .outputs = drafts == 0 ? Outputs::kLast : Outputs::kAll};
  const auto begin = request.draft.begin();
  item.tokens.insert(item.tokens.end(), begin, begin + static_cast<std::ptrdiff_t>(drafts));
  request.draft.clear();
  const auto rows = static_cast<uint32_t>(item.tokens.size());
  request.scheduled += rows;
  step.rows += rows;
  step.outputs += OutputRows(item);
  step.items.push_back(std::move(item));
}

// A fair share of the decoding requests, so that every stage has a micro-batch to work on.
void LeadMachine::AddDecode(LeadStep& step) {
  const size_t count = admitted_.size();
  const auto runs = [](const Request& request) { return request.decoding() && !request.paused; };
  const auto decoding = static_cast<size_t>(std::count_if(
      admitted_.begin(), admitted_.end(), [&](const auto& id) { return runs(*requests_.at(id)); }));
  const size_t share =
      std::min<size_t>((decoding + options_.stages - 1) / options_.stages, options_.chunk);
  const std::vector<RequestId> order = admitted_;  // requests that are put back leave it
  for (size_t i = 0; i < count && step.items.size() < share && step.rows < options_.chunk; ++i) {
    Request& request = *requests_.at(order[(decode_turn_ + i) % count]);
    if (request.admitted && runs(request) && request.pending() > 0) AddDecodeItem(step, request);
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
  for (const RequestId& sequence : std::exchange(covered_, {})) CloseKept(sequence);
  LeadStep step;
  const uint64_t put_back = stats_.put_back;
  AddDecode(step);
  if (stats_.put_back == put_back) Admit(step, now);
  AddPrefill(step);
  if (step.items.empty() && closing_.empty()) return std::nullopt;
  step.step = next_step_++;
  step.close = std::move(closing_);
  closing_.clear();
  step.truncate = std::exchange(truncating_, {});
  Flight flight{.step = step};
  for (const LeadItem& item : step.items)
    flight.serials.push_back(requests_.at(item.request)->serial);
  in_flight_.emplace(step.step, std::move(flight));
  CHECK(in_flight_.size() <= options_.stages);
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
  // With drafts the rows up to the last accepted one count; the rest is truncated.
  const auto rows = static_cast<uint32_t>(item.tokens.size());
  const bool drafted = item.outputs == Outputs::kAll;
  request.computed += drafted ? static_cast<uint32_t>(output->tokens.size()) : rows;
  if (drafted && output->tokens.size() < rows) {
    request.scheduled = request.computed;
    Cut(item.request, request.computed);
  }
  if (output == nullptr) return std::nullopt;
  if (request.first_token_at == Time{}) request.first_token_at = now;
  Emission emission{.request = item.request, .cached = request.cached};
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
  truncating_.clear();
  covered_.clear();
  kept_.Clear();
  ledger_ = PageLedger(options_.page);
  return emissions;
}

Emission LeadMachine::GiveUp(const Request& request) {
  const RequestId& id = request.submit.request;
  return {.request = id,
          .finished = wire::Finished{.request = id,
                                     .reason = wire::FinishReason::kError,
                                     .code = ErrorCode::kDisconnected,
                                     .message = "a stage stopped computing this request, though it "
                                                "was not cancelled; try again",
                                     .generated = request.generated()}};
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
