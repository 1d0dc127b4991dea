#include "cluster/replicas.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "cluster/event.h"

namespace exo::cluster {
namespace {

// A lead tells its owner at its next tick, and that one the others at its own.
constexpr Time kToldLate = 5 * kTickInterval;

// The finalizer of SplitMix64 over what came before and the next value.
uint64_t Mix(uint64_t hash, uint64_t value) {
  uint64_t mixed = (hash ^ value) + 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

// use(hash, tokens) of each beginning, the shortest first.
template <class Use>
void EachBeginning(uint64_t scope, std::span<const TokenId> prompt, const Use& use) {
  uint64_t hash = scope;
  for (size_t i = 0; i < prompt.size(); ++i) {
    hash = Mix(hash, static_cast<uint64_t>(prompt[i]));
    if ((i + 1) % PrefixHints::kStep == 0) use(hash, i + 1);
  }
}

}  // namespace

void PrefixHints::Note(uint64_t scope, std::span<const TokenId> prompt, const PlanId& plan) {
  EachBeginning(scope, prompt, [&](uint64_t hash, size_t) {
    if (newer_.size() >= kMost && !newer_.contains(hash)) older_ = std::exchange(newer_, {});
    newer_.insert_or_assign(hash, plan);
  });
  CHECK(newer_.size() <= kMost && older_.size() <= kMost);
}

const PlanId* PrefixHints::At(uint64_t hash) const {
  for (const auto* generation : {&newer_, &older_}) {
    if (const auto at = generation->find(hash); at != generation->end()) return &at->second;
  }
  return nullptr;
}

PrefixHints::Known PrefixHints::Find(uint64_t scope, std::span<const TokenId> prompt,
                                     const std::vector<PlanId>& among) const {
  Known known;
  EachBeginning(scope, prompt, [&](uint64_t hash, size_t tokens) {
    const PlanId* plan = At(hash);
    if (plan != nullptr && std::ranges::find(among, *plan) != among.end()) known = {*plan, tokens};
  });
  return known;
}

AnswerRate AnswerRate::Of(double alone, double together, uint32_t users) {
  AnswerRate rate;
  if (!(alone > 0)) return rate;
  rate.alone = alone;
  if (users > 1 && together > 0)
    rate.further = std::clamp((users * alone / together - 1) / (users - 1), 0.0, 1.0);
  return rate;
}

std::vector<uint32_t> ShareUsers(const std::vector<AnswerRate>& rates, uint32_t users) {
  std::vector<uint32_t> shares(rates.size());
  for (uint32_t user = 0; user < users; ++user) {
    size_t best = 0;
    for (size_t i = 1; i < rates.size(); ++i) {
      if (rates[i].StepOf(shares[i] + 1) < rates[best].StepOf(shares[best] + 1)) best = i;
    }
    ++shares[best];
  }
  return shares;
}

void RecentEnds::Note(const PlanId& plan, Time began, Time now) {
  while (!ends_.empty() && now - ends_.front().ended > kToldLate) ends_.pop_front();
  ends_.push_back({plan, began, now});
}

uint32_t RecentEnds::Count(const PlanId& plan, Time now) const {
  std::vector<std::pair<Time, int>> changes;  // at one moment the ends come first
  for (const End& end : ends_) {
    if (end.plan != plan || now - end.ended > kToldLate) continue;
    changes.emplace_back(end.began, 1);
    changes.emplace_back(end.ended, -1);
  }
  std::ranges::sort(changes);
  int active = 0, most = 0;
  for (const auto& [at, change] : changes) most = std::max(most, active += change);
  return static_cast<uint32_t>(most);
}

size_t ChooseReplica(std::vector<ReplicaLoad> all, const PrefixHints::Known& known,
                     size_t prompt_tokens) {
  CHECK(!all.empty());
  const auto told =
      std::ranges::find_if(all, [](const auto& one) { return one.rate.further.has_value(); });
  for (ReplicaLoad& one : all) {
    if (!one.rate.further && told != all.end()) one.rate.further = told->rate.further;
  }
  const auto step = [](const ReplicaLoad& one) { return one.rate.StepOf(one.requests + 1); };
  size_t least = 0;
  for (size_t i = 1; i < all.size(); ++i) {
    const double a = step(all[i]), b = step(all[least]);
    if (a < b || (a == b && all[i].here && !all[least].here)) least = i;
  }
  if (known.tokens == 0 || 2 * known.tokens < prompt_tokens) return least;
  const auto has = std::ranges::find(all, known.plan, &ReplicaLoad::plan);
  if (has == all.end() || step(*has) > kPatience * step(all[least])) return least;
  return static_cast<size_t>(has - all.begin());
}

uint64_t PrefixScope(const ModelId& model, const wire::Submit& submit) {
  uint64_t hash = submit.prefix_scope;
  for (const uint8_t byte : model.bytes) hash = Mix(hash, byte);
  for (const wire::AdapterUse& use : submit.adapters)
    hash = Mix(Mix(hash, use.adapter), std::bit_cast<uint32_t>(use.scale));
  return hash;
}

}  // namespace exo::cluster
