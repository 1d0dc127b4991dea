// LeadMachine: pages in the stages' prefix stores.
#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"
#include "engine/lead_request.h"

namespace exo::engine {
namespace {

// Pages restored in one step: beside running requests each of them is a delay.
constexpr size_t kRestoresAlone = 4;
constexpr size_t kRestoresBeside = 1;
// A page that a stage did not take is offered again, while it writes what it has.
constexpr Time kStoreAgain = std::chrono::milliseconds(200);
constexpr uint32_t kMostRefusals = 3;

}  // namespace

void LeadMachine::AddStored(const Hash256& stored, const Hash256& parent,
                            std::vector<TokenId> tokens) {
  if (options_.prefix_store) stored_.Add(stored, parent, std::move(tokens));
}

StoredPrefixes::Chain LeadMachine::FindStored(const Request& request, uint32_t length) const {
  if (!options_.prefix_store || stored_.size() == 0) return {};
  if (request.submit.readout == wire::Readout::kMean) return {};  // of the states of all rows
  // One row at least is computed: its logits are the next token's.
  const auto tokens = std::span(request.tokens).first(request.tokens.size() - 1);
  auto chain = stored_.Find(tokens, RootOf(request));
  if (chain.length < length + options_.least_restored) return {};
  return chain;
}

// Of layers with a window a page is had without them where no window reaches back to it.
StoredPrefixes::Chain LeadMachine::FindMoved(const Request& request, uint32_t length) const {
  const wire::KeptKv& kept = request.submit.kept;
  if (options_.former.IsZero() || kept.plan != options_.former) return {};
  // One row at least is computed: its logits are the next token's.
  const auto rows = static_cast<uint32_t>(request.tokens.size()) - 1;
  StoredPrefixes::Chain chain{.pages = {}, .length = std::min(kept.positions, rows)};
  if (chain.length < length + options_.least_restored) return {};
  for (uint32_t first = 0; first < chain.length; first += options_.page) {
    const uint32_t count = std::min(options_.page, chain.length - first);
    const bool behind = uint64_t{first} + count + options_.window.positions <= chain.length + 1;
    chain.pages.push_back({.key = {},
                           .count = count,
                           .bare = options_.window.positions > 0 && behind,
                           .moved = true});
  }
  return chain;
}

// Its adapters decide the bits of all its positions; its scope who may find them.
Hash256 LeadMachine::RootOf(const Request& request) const {
  const uint64_t scope = request.submit.prefix_scope;
  if (request.submit.adapters.empty() && scope == 0) return {};
  Sha256 hash;
  if (scope != 0) {
    hash.Update("exo prefix of one asker");
    hash.UpdateU64(scope);
  }
  hash.Update("exo prefix adapters");
  for (const wire::AdapterUse& use : request.submit.adapters) {
    hash.Update(std::as_bytes(std::span(options_.adapter_files.at(use.adapter).bytes)));
    hash.UpdateU64(std::bit_cast<uint32_t>(use.scale));
  }
  return hash.Finish();
}

// A last page that is not whole is worth a file when a prefix of its length is worth a fork.
void LeadMachine::ScheduleStores(const Request& request, const RequestId& sequence,
                                 std::span<const TokenId> tokens) {
  if (!options_.prefix_store || tokens.size() < options_.page) return;
  Hash256 parent = RootOf(request);
  for (uint32_t first = 0; first < tokens.size();) {
    const auto count =
        static_cast<uint32_t>(std::min<size_t>(options_.page, tokens.size() - first));
    if (count < std::min(options_.page, options_.least_shared)) return;
    const Hash256 key = stored_.KeyOf(parent, tokens.subspan(first, count));
    if (!stored_.Has(key, !ledger_.HasWindows(sequence, first)))
      storing_.push_back({sequence, first, count, key, parent});
    parent = key;
    first += count;
  }
}

// Where the answer has gone so far that the windows there are gone: what KeepPromptEnd kept, so
// that another answer can begin there.
void LeadMachine::SchedulePromptEnd(const Request& request) {
  const RequestId& id = request.submit.request;
  if (ledger_.Reaches(id, request.start)) return;
  const RequestId end = PromptEndOf(id);
  ScheduleStores(request, end, kept_.TokensOf(end));
}

void LeadMachine::AddRestores(LeadStep& step) {
  const auto computes = [](const auto& flight) { return flight.second.step.rows > 0; };
  const bool beside = step.rows > 0 || std::ranges::any_of(in_flight_, computes);
  size_t room = beside ? kRestoresBeside : kRestoresAlone;
  for (const RequestId& id : admitted_) {
    Request& request = *requests_.at(id);
    const auto& pages = request.restoring.pages;
    for (; room > 0 && request.restores_sent < pages.size(); --room) {
      const StoredPrefixes::Page& page = pages[request.restores_sent++];
      step.restore.push_back({.request = id,
                              .first = request.scheduled,
                              .count = page.count,
                              .key = page.key,
                              .adapters = request.submit.adapters,
                              .bare = page.bare,
                              .moved = page.moved});
      ledger_.Slide(id, request.scheduled);
      request.scheduled += page.count;
      if (page.bare) ledger_.Skip(id, request.scheduled);
    }
  }
}

void LeadMachine::AddStore(LeadStep& step, Time now) {
  while (!storing_.empty() && now >= store_after_) {
    const Storing next = storing_.front();
    storing_.pop_front();
    const auto tokens = kept_.TokensOf(next.sequence);
    const bool bare = !ledger_.HasWindows(next.sequence, next.first);
    if (stored_.Has(next.key, bare) || tokens.size() < next.first + next.count) continue;
    const auto begin = tokens.begin() + next.first;
    step.store.push_back({.page = {.request = next.sequence,
                                   .first = next.first,
                                   .count = next.count,
                                   .key = next.key,
                                   .bare = bare},
                          .parent = next.parent,
                          .tokens = {begin, begin + next.count},
                          .refused = next.refused});
    return;
  }
}

Result<LeadMachine::PageNews> LeadMachine::OnPages(const wire::Step& done, Time now) {
  PageNews news;
  const auto at = in_flight_.find(done.step);
  if (at == in_flight_.end()) return news;
  const Flight& flight = at->second;
  const auto same = [](const wire::StepPage& a, const wire::StepPage& b) {
    return a.request == b.request && a.first == b.first && a.count == b.count && a.key == b.key &&
           a.moved == b.moved;
  };
  const auto page_of = [](const LeadPage& page) { return page.page; };
  // A stage of an older version does not know of pages and drops them all.
  if ((!done.restore.empty() && !std::ranges::equal(done.restore, flight.step.restore, same)) ||
      (!done.store.empty() &&
       !std::ranges::equal(done.store, flight.step.store, same, {}, page_of))) {
    return exo::Fail(ErrorCode::kInvalid, "step {} came back with pages of other requests",
                     done.step);
  }
  for (size_t i = 0; i < flight.step.restore.size(); ++i) {
    const bool lost = done.restore.empty() || done.restore[i].lost;
    OnRestored(flight.step.restore[i], flight.restore_serials[i], lost, news);
  }
  for (size_t i = 0; i < flight.step.store.size(); ++i)
    OnStored(flight.step.store[i], done.store.empty() || done.store[i].lost, now, news);
  return news;
}

// Of a request that was put back or has ended meanwhile only what is lost matters.
void LeadMachine::OnRestored(const wire::StepPage& page, uint64_t serial, bool lost,
                             PageNews& news) {
  const auto at = requests_.find(page.request);
  const bool waits = at != requests_.end() && at->second->serial == serial;
  if (lost) {
    // Behind a page that was lost none is looked for: they may be there.
    if (waits) {
      ++stats_.lost_pages;
      if (!page.moved) {
        stored_.Remove(page.key, page.bare);
        news.lost.push_back(StoredKeyOf(page.key, page.bare));
      }
      PutBack(*at->second);
    }
    return;
  }
  if (!waits) return;
  Request& request = *at->second;
  request.computed += page.count;
  if (request.computed < request.restoring.length) return;
  CHECK(request.computed == request.restoring.length && request.scheduled == request.computed);
  request.restoring = {};
  request.restores_sent = 0;
  if (!request.counted) (page.moved ? stats_.moved_rows : stats_.restored_rows) += request.computed;
  CountCached(request);
}

void LeadMachine::OnStored(const LeadPage& page, bool lost, Time now, PageNews& news) {
  if (!lost) {
    ++stats_.stored_pages;
    stored_.Add(StoredKeyOf(page.page.key, page.page.bare), page.parent, page.tokens);
    news.stored.push_back(page);
    return;
  }
  const RequestId& sequence = page.page.request;
  store_after_ = now + kStoreAgain;
  if (page.refused + 1 < kMostRefusals) {
    storing_.push_front(
        {sequence, page.page.first, page.page.count, page.page.key, page.parent, page.refused + 1});
  } else {
    std::erase_if(storing_, [&](const Storing& other) { return other.sequence == sequence; });
  }
}

}  // namespace exo::engine
