// LeadMachine: verify windows ahead. While a request's window is on its way through the stages, the
// next one follows it, drafted as if all drafts before it and the guess of the token behind them
// were right. An answer that refutes one of them makes all later windows stale: their results are
// dropped, the stages are told that they need not compute them (StaleRows), and the next step
// truncates the sequence to what is known. So no answer changes.
//
// A window is sent where it is likely to count for more than it costs (DraftPayoff), and while the
// steps in flight leave the slowest stage idle: beyond that it would only wait there, and let
// others wait.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/lead_request.h"

namespace exo::engine {

// The part of the pipeline that is taken: 1 when the slowest stage finds a step whenever it is done
// with one.
double LeadMachine::Load() const {
  double load = 0;
  for (const auto& [unused, flight] : in_flight_) load += flight.load;
  return load;
}

std::vector<TokenId> LeadMachine::GuessAhead(Request& request, uint32_t most, size_t streams,
                                             double visit) {
  if (!request.later.empty()) {
    const size_t count = std::min<size_t>({most, request.width, request.later.size()});
    request.match = 0;
    return {request.later.begin(), request.later.begin() + static_cast<std::ptrdiff_t>(count)};
  }
  if (!options_.speculate) return {};
  const double room = (1 - Load() - visit) / (pace_.VisitCost(1) - pace_.VisitCost());
  if (room < 1) return {};
  auto guess =
      request.lookup.Find(request.tokens, request.ahead, std::min(most, DraftPayoff::kMost + 1));
  if (guess.tokens.empty()) return {};
  const auto all = static_cast<double>(streams);
  const double row = pace_.DraftCost() * all;
  const double rows =
      request.payoff.WindowAhead(guess.match, request.ahead.size(), visit * all, row);
  guess.tokens.resize(std::min(guess.tokens.size(), static_cast<size_t>(std::min(rows, room))));
  request.match = guess.match;
  request.draft_cost = row;
  return std::move(guess.tokens);
}

// `visit`: what the step costs beside its rows, when it is not sent anyway.
bool LeadMachine::AddAheadItem(LeadStep& step, Request& request, size_t streams, double visit) {
  CHECK(request.scheduled == request.tokens.size() + request.ahead.size());
  const RequestId& id = request.submit.request;
  const uint32_t room =
      std::min(options_.chunk - step.rows, request.max_tokens_total - request.scheduled - 1);
  // The answer to the oldest window brings a token at least.
  if (room == 0 || !ledger_.Keeps(request.computed + 1, request.scheduled)) return false;
  const std::vector<TokenId> tokens = GuessAhead(request, room, streams, visit);
  const auto rows = static_cast<uint32_t>(tokens.size());
  // Drafts are not worth another request's pages.
  if (rows == 0 || !TakePages(step, id, request.scheduled, request.scheduled + rows)) return false;
  if (request.later.empty()) {
    request.payoff.Spend(visit * static_cast<double>(streams));
  } else {
    request.later.erase(request.later.begin(), request.later.begin() + rows);
  }
  request.ahead.insert(request.ahead.end(), tokens.begin(), tokens.end());
  LeadItem item{.request = id,
                .first = request.scheduled,
                .tokens = tokens,
                .outputs = Outputs::kAll,
                .adapters = request.submit.adapters};
  AddWindow(step, request, std::move(item), rows);
  ++stats_.windows_ahead;
  return true;
}

// Beside prompts, or many streams, the stages have enough to do.
void LeadMachine::AddAhead(LeadStep& step, StepPace::Rows& rows) {
  if (options_.stages == 1 || options_.windows < 2 || rows.prompts > 0) return;
  const std::vector<RequestId> decoding = Decoding();
  if (decoding.size() > kCommonRows || std::ranges::any_of(in_flight_, [](const auto& flight) {
        return flight.second.rows.prompts > 0;
      }))
    return;
  // Of all requests, and with those that are stale already.
  if (step.items.empty() && in_flight_.size() - WaitedFor() >= options_.windows) return;
  double visit = step.items.empty() ? pace_.VisitCost() : 0;
  const uint32_t before = step.rows;
  for (const RequestId& id : decoding) {
    Request& request = *requests_.at(id);
    const bool in_step =
        std::ranges::any_of(step.items, [&](const LeadItem& item) { return item.request == id; });
    if (in_step || request.windows.empty() || request.windows.size() >= options_.windows) continue;
    if (AddAheadItem(step, request, decoding.size(), visit)) visit = 0;
  }
  rows.drafts += step.rows - before;
  stats_.decode_rows += step.rows - before;
}

// `tokens` have come behind those that were known; `whole`: of each row of their window. Windows
// that follow stand when they are what was guessed.
void LeadMachine::Confirm(Request& request, std::span<const TokenId> tokens, bool whole) {
  const size_t guessed = std::min(tokens.size(), request.ahead.size());
  const bool right = std::equal(
      tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(guessed), request.ahead.begin());
  if (whole && !request.windows.empty()) {  // the token behind the window is the next one's first
    if (const uint32_t match = request.windows.front(); match > 0)
      request.payoff.OnDrafted(match, 1, right ? 1 : 0);
    request.accepted += right ? 1 : 0;
    stats_.accepted_drafts += right ? 1 : 0;
  }
  if (!whole || !right) return MakeStale(request);
  request.ahead.erase(request.ahead.begin(),
                      request.ahead.begin() + static_cast<std::ptrdiff_t>(guessed));
}

// Of the rows in flight nothing counts.
void LeadMachine::MakeStale(Request& request) {
  request.ahead.clear();
  request.later.clear();
  if (request.scheduled == request.computed) return;
  TellStale(request);
  request.serial = next_serial_++;  // results in flight are stale
  request.windows.clear();
  request.scheduled = request.computed;
  Cut(request.submit.request, request.computed);
}

void LeadMachine::TellStale(const Request& request) {
  if (request.windows.empty()) return;
  stats_.stale_windows += request.windows.size();
  stale_.push_back({options_.plan, request.submit.request, next_step_ - 1});
}

}  // namespace exo::engine
