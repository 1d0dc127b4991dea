// LeadMachine: which rows form the next step.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/lead_request.h"

namespace exo::engine {

void LeadMachine::Draft(const RequestId& id, std::vector<TokenId> tokens, uint32_t width) {
  const auto at = requests_.find(id);
  if (at == requests_.end() || !at->second->decoding() || at->second->pending() != 1) return;
  Request& request = *at->second;
  const auto first = tokens.begin() + std::min<std::ptrdiff_t>(width, std::ssize(tokens));
  request.later.assign(first, tokens.end());
  request.width = width;
  tokens.erase(first, tokens.end());
  request.draft = std::move(tokens);
  request.match = 0;
  request.draft_cost = 0;
}

std::vector<RequestId> LeadMachine::Decoding() const {
  std::vector<RequestId> decoding;
  for (const RequestId& id : admitted_) {
    const Request& request = *requests_.at(id);
    if (request.decoding() && !request.paused) decoding.push_back(id);
  }
  return decoding;
}

// In tokens: every running request waits for the draft model and for the row it adds.
double LeadMachine::ModelDraftCost(Time per_token) const {
  constexpr double kUnknown = 0.25;  // of a step
  const double guessing = per_token == Time{} ? kUnknown : pace_.PartOfStep(per_token);
  return (pace_.DraftCost() + guessing) * static_cast<double>(Decoding().size());
}

std::vector<DraftWish> LeadMachine::DraftWishes(Time per_token) {
  std::vector<DraftWish> wishes;
  if (!options_.speculate || WaitedFor() >= options_.stages) return wishes;
  const std::vector<RequestId> decoding = Decoding();
  const double cost = ModelDraftCost(per_token);
  for (const RequestId& id : decoding) {
    Request& request = *requests_.at(id);
    if (request.pending() != 1 || !request.draft.empty()) continue;
    if (!request.lookup.Find(request.tokens, {}, 1).tokens.empty()) continue;
    const uint32_t room = request.max_tokens_total - request.scheduled - 2;
    const uint32_t window = std::min(request.payoff.Window(DraftPayoff::kModel, cost), room);
    if (window > 0) wishes.push_back({id, request.tokens, window});
  }
  return wishes;
}

void LeadMachine::TakeGuess(const RequestId& request, std::vector<TokenId> tokens, Time per_token) {
  Draft(request, std::move(tokens));
  const auto at = requests_.find(request);
  if (at == requests_.end() || at->second->draft.empty()) return;
  at->second->match = DraftPayoff::kModel;
  at->second->draft_cost = ModelDraftCost(per_token);
}

// What the request's own text suggests, as far as it pays beside `streams` running requests: a
// drafted row delays each of them.
void LeadMachine::Guess(Request& request, size_t streams, uint32_t most) {
  if (!options_.speculate || !request.draft.empty() || most == 0) return;
  // What windows ahead cost is known from a step without drafts.
  if (options_.stages > 1 && !pace_.KnowsVisits()) return;
  auto guess = request.lookup.Find(request.tokens, {}, std::min(most, DraftPayoff::kMost));
  if (guess.tokens.empty()) return;
  request.match = guess.match;
  request.draft_cost = pace_.DraftCost() * static_cast<double>(streams);
  request.draft = std::move(guess.tokens);
  request.draft.resize(std::min<size_t>(request.draft.size(),
                                        request.payoff.Window(request.match, request.draft_cost)));
}

void LeadMachine::AddRows(LeadStep& step, Request& request, uint32_t rows) {
  // Its pages were taken when it was admitted.
  CHECK(ledger_.Needs(request.submit.request, request.scheduled, request.scheduled + rows) == 0);
  ledger_.Slide(request.submit.request, request.scheduled);
  const bool reaches_end = rows == request.pending();
  const auto begin = request.tokens.begin() + request.scheduled;
  Outputs outputs = reaches_end ? Outputs::kLast : Outputs::kNone;
  if (request.submit.readout == wire::Readout::kMean) outputs = Outputs::kAll;
  step.items.push_back({.request = request.submit.request,
                        .first = request.scheduled,
                        .tokens = {begin, begin + rows},
                        .outputs = outputs,
                        .adapters = request.submit.adapters,
                        .readout = request.submit.readout});
  request.scheduled += rows;
  step.rows += rows;
  step.outputs += OutputRows(step.items.back());
}

// The last token of the answer, and the drafts behind it as far as there is room: the last token
// to come is sampled and needs no draft. Behind forced tokens there are none.
void LeadMachine::AddDecodeItem(LeadStep& step, Request& request, size_t streams) {
  const uint32_t known = std::min(request.pending(), options_.chunk - step.rows);
  if (known > 1) return AddForced(step, request, known);
  const uint32_t room =
      std::min(options_.chunk - step.rows, request.max_tokens_total - request.scheduled - 1);
  Guess(request, streams, room - 1);
  auto drafts = static_cast<uint32_t>(std::min<size_t>(request.draft.size(), room - 1));
  // Drafts are not worth another request's pages.
  const uint32_t end = request.scheduled + 1;
  KeepPromptEnd(step, request);
  if (drafts > 0 && !TakePages(step, request.submit.request, request.scheduled, end + drafts))
    drafts = 0;
  if (drafts == 0 && !TakeDecodePages(step, request, end)) return;
  LeadItem item{.request = request.submit.request,
                .first = request.scheduled,
                .tokens = {request.tokens.back()},
                .outputs = drafts == 0 ? Outputs::kLast : Outputs::kAll,
                .adapters = request.submit.adapters};
  if (drafts < request.draft.size()) request.later.clear();  // they would not follow
  request.draft.resize(drafts);
  item.tokens.insert(item.tokens.end(), request.draft.begin(), request.draft.end());
  AddWindow(step, request, std::move(item), drafts);
  request.ahead = std::exchange(request.draft, {});
}

// A verify window on its way, of which `drafts` rows are guesses.
void LeadMachine::AddWindow(LeadStep& step, Request& request, LeadItem item, uint32_t drafts) {
  const auto rows = static_cast<uint32_t>(item.tokens.size());
  request.windows.push_back(request.match);
  if (request.match > 0) request.payoff.Spend(drafts * request.draft_cost);
  request.drafted += drafts;
  stats_.drafted_rows += drafts;
  request.scheduled += rows;
  step.rows += rows;
  step.outputs += OutputRows(item);
  step.items.push_back(std::move(item));
}

void LeadMachine::AddForced(LeadStep& step, Request& request, uint32_t rows) {
  KeepPromptEnd(step, request);
  if (!TakeDecodePages(step, request, request.scheduled + rows)) return;
  request.draft.clear();
  AddRows(step, request, rows);
}

// All that decode while they are few, else a fair share of them, so that every stage has a
// micro-batch to work on.
void LeadMachine::AddDecode(LeadStep& step, StepPace::Rows& rows) {
  const size_t count = admitted_.size();
  const auto runs = [](const Request& request) { return request.decoding() && !request.paused; };
  const auto decoding = static_cast<size_t>(std::count_if(
      admitted_.begin(), admitted_.end(), [&](const auto& id) { return runs(*requests_.at(id)); }));
  const bool common = decoding <= kCommonRows;
  // Those that come back together go on together.
  if (common && std::ranges::any_of(
                    in_flight_, [](const auto& flight) { return flight.second.rows.streams > 0; }))
    return;
  const size_t share = std::min<size_t>(
      common ? decoding : (decoding + options_.stages - 1) / options_.stages, options_.chunk);
  const std::vector<RequestId> order = admitted_;  // requests that are put back leave it
  for (size_t i = 0; i < count && step.items.size() < share && step.rows < options_.chunk; ++i) {
    Request& request = *requests_.at(order[(decode_turn_ + i) % count]);
    if (request.admitted && runs(request) && request.pending() > 0)
      AddDecodeItem(step, request, share);
  }
  if (count > 0) decode_turn_ = (decode_turn_ + share) % count;
  rows.streams = static_cast<uint32_t>(step.items.size());
  rows.drafts = step.rows - rows.streams;
  stats_.decode_rows += step.rows;
}

// Requests with rows of a prompt to compute. First the oldest one of the client that has had the
// fewest rows, then those that are done soonest.
std::vector<LeadMachine::Request*> LeadMachine::PromptsInTurn() {
  std::vector<Request*> prompts;
  for (const RequestId& id : admitted_) {
    Request& request = *requests_.at(id);
    if (!request.decoding() && request.pending() > 0) prompts.push_back(&request);
  }
  std::map<uint64_t, uint64_t> served;
  uint64_t least = UINT64_MAX;
  for (const auto& [client, rows] : served_) least = std::min(least, rows);
  // Who comes anew takes a turn like the others, but gets nothing for the time before.
  for (const Request* request : prompts) {
    const uint64_t client = request->submit.client;
    const auto known = served_.find(client);
    served[client] = known != served_.end() ? known->second : served_.empty() ? 0 : least;
  }
  served_ = std::move(served);
  const auto first = std::ranges::min_element(
      prompts, {}, [&](const Request* request) { return served_.at(request->submit.client); });
  if (first == prompts.end()) return prompts;
  std::rotate(prompts.begin(), first, first + 1);
  const auto left = [](const Request* request) {
    return std::pair(request->pending(), request->serial);
  };
  std::sort(prompts.begin() + 1, prompts.end(),
            [&](const Request* a, const Request* b) { return left(a) < left(b); });
  return prompts;
}

// The first in turn gets half of the rows and what the others leave.
void LeadMachine::AddPrefill(LeadStep& step, StepPace::Rows& rows) {
  uint32_t room = options_.chunk - step.rows;
  const bool streams = std::ranges::any_of(admitted_, [&](const RequestId& id) {
    const Request& request = *requests_.at(id);
    return request.decoding() && !request.paused;
  });
  const std::vector<Request*> prompts = PromptsInTurn();
  if (prompts.empty()) return;
  uint32_t pending = 0;
  for (const Request* request : prompts) pending += request->pending();
  room = std::min(room, streams ? pace_.PromptRows(options_.chunk)
                                : chunk_size_.RowsFor(pending, options_.chunk));
  std::vector<uint32_t> parts(prompts.size());
  const auto give = [&](size_t at, uint32_t most) {
    const uint32_t part = std::min({prompts[at]->pending() - parts[at], room, most});
    parts[at] += part;
    room -= part;
  };
  give(0, (room + 1) / 2);
  for (size_t i = 1; i < prompts.size(); ++i) give(i, room);
  give(0, room);
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (parts[i] == 0) continue;
    served_[prompts[i]->submit.client] += parts[i];
    AddRows(step, *prompts[i], parts[i]);
    rows.prompts += parts[i];
  }
  stats_.prefill_rows += rows.prompts;
}

}  // namespace exo::engine
