// LeadMachine: admission, KV pages and the sequences of ended requests.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/lead_request.h"

namespace exo::engine {

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
  while (kept_.size() > PrefixIndex::kMaxSequences)
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
  const auto fits = [&](const PageLedger& ledger) {
    return ledger.used() + ledger.Needs(request, first, end) <= options_.pages;
  };
  if (!fits(ledger_)) {
    // No prefix is given up for what does not fit anyway.
    PageLedger without = ledger_;
    for (const RequestId& sequence : kept_.All()) {
      if (may_go(sequence)) without.Close(sequence);
    }
    if (!fits(without)) return false;
  }
  while (!fits(ledger_)) {
    const auto oldest = kept_.Oldest(may_go);
    CHECK(oldest.has_value());
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

}  // namespace exo::engine
