// LeadMachine: admission, KV pages and the sequences of ended requests.
#include <algorithm>
#include <set>
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
  if (!kept_.Forget(sequence)) return;
  std::erase_if(storing_, [&](const Storing& page) { return page.sequence == sequence; });
  CloseSequence(sequence);
}

void LeadMachine::Cut(const RequestId& sequence, uint32_t length) {
  std::erase_if(truncating_, [&](const auto& cut) { return cut.request == sequence; });
  truncating_.push_back({sequence, length});
  ledger_.Truncate(sequence, length);
}

// The kept sequence that shares most with the request's first `count` tokens, where the windows of
// its layers are still there.
std::optional<PrefixIndex::Match> LeadMachine::FindKept(const Request& request, size_t count) {
  const auto usable = [this](const RequestId& sequence, uint32_t length) {
    return ledger_.Reaches(sequence, length);
  };
  return kept_.Find(std::span(request.tokens).first(count), PrefixIndex::KindOf(request.submit),
                    usable);
}

// Layers with a window move on as the answer grows: a fork keeps them as they are at the end of the
// prompt, for a request that goes on otherwise from there. Not worth anybody's pages.
void LeadMachine::KeepPromptEnd(LeadStep& step, const Request& request) {
  if (options_.window.positions == 0 || !options_.prefix_cache) return;
  if (request.scheduled != request.start || kept_.size() >= PrefixIndex::kMaxSequences) return;
  const RequestId& id = request.submit.request;
  const RequestId end = PromptEndOf(id);
  if (requests_.contains(end)) return;
  CloseKept(end);
  ledger_.Share(id, request.start, end);
  if (!ledger_.Fits(options_.pages, id, request.scheduled, request.scheduled + 1))
    return ledger_.Close(end);
  step.fork.push_back({id, end, request.start});
  const auto begin = request.tokens.begin();
  kept_.Keep(end, {begin, begin + request.start}, PrefixIndex::KindOf(request.submit));
}

// Of two sequences of which one begins with all of the other, only the longer one is kept.
void LeadMachine::Keep(Request& request) {
  const RequestId& id = request.submit.request;
  // Fewer tokens than computed rows: accepted drafts behind a stop token.
  request.tokens.resize(std::min<size_t>(request.computed, request.tokens.size()));
  const auto length = static_cast<uint32_t>(request.tokens.size());
  if (!ledger_.Reaches(id, length)) return Close(request);
  SchedulePromptEnd(request);
  if (const auto match = FindKept(request, length)) {
    if (match->length == length) return Close(request);
    // Where windows have moved on, the end of the shorter one is a point of its own.
    if (match->whole && ledger_.Reaches(id, match->length)) CloseKept(match->sequence);
  }
  Cut(id, length);  // also what makes the stages forget that it was cancelled
  ScheduleStores(request, id, request.tokens);
  kept_.Keep(id, std::move(request.tokens), PrefixIndex::KindOf(request.submit));
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
  request.restoring = {};
  request.restores_sent = 0;
  request.draft.clear();
  request.later.clear();
  request.ahead.clear();
  request.windows.clear();
  request.sum.clear();
  ++stats_.put_back;
}

bool LeadMachine::TakePages(const LeadStep& step, const RequestId& request, uint32_t first,
                            uint32_t end) {
  const auto may_go = [&](const RequestId& sequence) {
    return std::ranges::none_of(
        step.fork, [&](const auto& fork) { return fork.from == sequence || fork.to == sequence; });
  };
  const auto fits = [&](const PageLedger& ledger) {
    return ledger.Fits(options_.pages, request, first, end);
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
  if (!options_.prefix_cache || request.submit.readout == wire::Readout::kMean)
    return std::nullopt;  // a mean is of the states of all rows
  // One row at least is computed: its logits are the next token's.
  const auto tokens = std::span(request.tokens).first(request.tokens.size() - 1);
  auto best = FindKept(request, tokens.size());
  for (const RequestId& id : admitted_) {
    const Request& other = *requests_.at(id);
    if (PrefixIndex::KindOf(other.submit) != PrefixIndex::KindOf(request.submit)) continue;
    const uint32_t common = CommonPrefix(std::span(other.tokens).first(other.computed), tokens);
    if (!ledger_.Reaches(id, common)) continue;
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
  const uint32_t known = shared ? shared->length : 0;
  auto stored = FindStored(request, known);
  if (auto moved = FindMoved(request, std::max(known, stored.length)); !moved.pages.empty())
    stored = std::move(moved);
  if (!stored.pages.empty() && TakePages(step, id, 0, rows + 1)) {
    request.restoring = std::move(stored);
    request.submit.kept = {};  // they are given away once
    BeginRequest(request, now);
    return true;
  }
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
  if (shared && shared->whole && options_.window.positions == 0)
    covered_.push_back(shared->sequence);
  request.scheduled = request.computed = shared ? shared->length : 0;
  BeginRequest(request, now);
  return true;
}

void LeadMachine::BeginRequest(Request& request, Time now) {
  std::erase(queue_, request.submit.request);
  admitted_.push_back(request.submit.request);
  request.admitted = true;
  if (request.admitted_at == Time{}) request.admitted_at = now;
  if (request.restoring.pages.empty()) CountCached(request);
}

// Once: what it computes again after it was put back says nothing of the prompt.
void LeadMachine::CountCached(Request& request) {
  if (std::exchange(request.counted, true)) return;
  request.cached = request.computed;
  stats_.cached_rows += request.computed;
  if (request.submit.prompt_tokens < request.start)
    stats_.recomputed_rows += request.start - request.computed;
}

std::vector<LeadMachine::Waiting> LeadMachine::QueueNews() {
  std::vector<Waiting> news;
  uint32_t before = 0;
  for (const RequestId& id : queue_) {
    Request& request = *requests_.at(id);
    if (request.told_before != before) news.push_back({id, before});
    request.told_before = before;
    before += request.paused ? 0 : 1;  // nobody waits for those
  }
  return news;
}

// First come first served, but for those whose reader does not read; a client of whom nothing runs
// goes before the further requests (and choices) of others. Null: nobody waits.
LeadMachine::Request* LeadMachine::NextToAdmit() {
  if (queue_.empty()) return nullptr;  // as before most steps
  std::set<uint64_t> served;
  for (const RequestId& id : admitted_) {
    const Request& request = *requests_.at(id);
    if (!request.paused) served.insert(request.submit.client);
  }
  Request* first = nullptr;
  for (const RequestId& id : queue_) {
    Request& request = *requests_.at(id);
    if (request.paused) continue;
    if (!served.contains(request.submit.client)) return &request;
    if (first == nullptr) first = &request;
  }
  return first;
}

// The youngest request whose reader does not read gives up its pages, where that helps `request`.
bool LeadMachine::PutBackPaused(const LeadStep& step, const Request& request) {
  const auto may_go = [&](const RequestId& id) {
    return requests_.at(id)->paused && std::ranges::none_of(step.fork, [&](const auto& fork) {
             return fork.from == id || fork.to == id;
           });
  };
  const auto youngest = std::find_if(admitted_.rbegin(), admitted_.rend(), may_go);
  if (youngest == admitted_.rend()) return false;
  const RequestId& id = request.submit.request;
  PageLedger without = ledger_;
  const auto shared = FindPrefix(request);
  if (shared) without.Share(shared->sequence, shared->length, id);
  for (const RequestId& sequence : kept_.All()) without.Close(sequence);
  for (const RequestId& other : admitted_) {
    if (may_go(other)) without.Close(other);
  }
  const auto rows = static_cast<uint32_t>(request.tokens.size());
  if (!without.Fits(options_.pages, id, shared ? shared->length : 0, rows + 1)) return false;
  PutBack(*requests_.at(*youngest));
  return true;
}

void LeadMachine::Admit(LeadStep& step, Time now) {
  while (Request* next = NextToAdmit()) {
    if (!AdmitOne(step, *next, now) && !PutBackPaused(step, *next)) return;
  }
}

}  // namespace exo::engine
