#include "cluster/trust.h"

#include <algorithm>
#include <utility>

#include "wire/limits.h"

namespace exo::cluster {

using wire::TrustEntry;
using wire::TrustRole;
using wire::TrustUpdate;

void Trust::Restore(TrustUpdate record) {
  epoch_ = record.epoch;
  secret_ = std::move(record.secret);
  for (TrustEntry& entry : record.entries) {
    const NodeId id = entry.id;
    entries_.insert_or_assign(id, std::move(entry));
  }
}

bool Trust::IsTrusted(const NodeId& id) const {
  const auto at = entries_.find(id);
  return at != entries_.end() && at->second.role != TrustRole::kForgotten;
}

bool Trust::IsForgotten(const NodeId& id) const {
  const auto at = entries_.find(id);
  return at != entries_.end() && at->second.role == TrustRole::kForgotten;
}

bool Trust::IsGuest(const NodeId& id) const {
  const auto at = entries_.find(id);
  return at != entries_.end() && at->second.role == TrustRole::kGuest;
}

std::string Trust::NameOf(const NodeId& id) const {
  const auto at = entries_.find(id);
  return at == entries_.end() ? "" : at->second.name;
}

std::vector<TrustEntry> Trust::entries() const {
  std::vector<TrustEntry> all;
  for (const auto& [id, entry] : entries_) all.push_back(entry);
  return all;
}

void Trust::Consider(const TrustEntry& entry, Change& change) {
  if (entry.id.IsZero()) return;
  const auto at = entries_.find(entry.id);
  if (at == entries_.end()) {
    if (entries_.size() >= wire::kMaxTrustEntries) return;
    entries_.emplace(entry.id, entry);
    change.any = true;
    (entry.role == TrustRole::kForgotten ? change.forgotten : change.admitted).push_back(entry);
    return;
  }
  TrustEntry& known = at->second;
  if (entry.role > known.role) {
    const bool lost = entry.role == TrustRole::kForgotten;
    change.demoted |= known.role == TrustRole::kMember && entry.role == TrustRole::kGuest;
    known.role = entry.role;
    change.any = true;
    if (lost) {
      change.lost.push_back(entry.id);
      change.forgotten.push_back(known);
    }
  }
  if (entry.name > known.name) {  // any order that is the same everywhere
    known.name = entry.name;
    change.any = true;
  }
}

Result<Trust::Change> Trust::Admit(TrustEntry entry) {
  if (IsForgotten(entry.id)) {
    return Fail(
        ErrorCode::kInvalid,
        "the device {} was forgotten, which is for ever: it needs a new key (exo rotate-key on "
        "it, then start exo there again)",
        entry.id.Short());
  }
  if (entries_.size() >= wire::kMaxTrustEntries && !entries_.contains(entry.id)) {
    return Fail(ErrorCode::kOverloaded, "{} devices are known, which is the most", entries_.size());
  }
  Change change;
  Consider(entry, change);
  return change;
}

wire::HybridTime Trust::NextEpoch(uint64_t wall_ms) const {
  wire::HybridTime next{.wall_ms = std::min(wall_ms, wire::kMaxWallMs), .node = self_};
  if (next.wall_ms <= epoch_.wall_ms) {
    const bool full = epoch_.counter == ~uint32_t{0};
    next.wall_ms = std::min(epoch_.wall_ms + (full ? 1 : 0), wire::kMaxWallMs);
    next.counter = full ? 0 : epoch_.counter + 1;
  }
  return next;
}

Trust::Change Trust::Rotate(std::vector<uint8_t> new_secret, uint64_t wall_ms) {
  epoch_ = NextEpoch(wall_ms);
  secret_ = std::move(new_secret);
  return {.any = true, .secret = true};
}

Result<Trust::Change> Trust::Forget(const NodeId& id, std::vector<uint8_t> new_secret,
                                    uint64_t wall_ms) {
  if (id == self_) {
    return Fail(ErrorCode::kInvalid,
                "a device cannot forget itself: run `exo forget` on another one, or remove the "
                "data folder");
  }
  Change change = Rotate(std::move(new_secret), wall_ms);
  Consider({.id = id, .role = TrustRole::kForgotten, .name = NameOf(id)}, change);
  return change;
}

// Who is not named was admitted by a secret that is not the cluster's any more.
void Trust::TakeSecret(const TrustUpdate& update, Change& change) {
  epoch_ = update.epoch;
  secret_ = update.secret;
  change.any = change.secret = true;
  std::erase_if(entries_, [&](const auto& entry) {
    const NodeId& id = entry.first;
    const bool named = std::ranges::any_of(update.entries,
                                           [&](const TrustEntry& other) { return other.id == id; });
    if (named || id == self_ || entry.second.role == TrustRole::kForgotten) return false;
    change.lost.push_back(id);
    return true;
  });
}

Trust::Change Trust::Merge(const TrustUpdate& update) {
  Change change;
  const bool older = update.epoch < epoch_;
  if (update.epoch > epoch_) TakeSecret(update, change);
  for (const TrustEntry& entry : update.entries) {
    if (entry.id == self_) continue;  // what this node is, it was told when it joined
    if (older && entry.role != TrustRole::kForgotten) continue;
    Consider(entry, change);
  }
  change.stale_secret = older && !change.forgotten.empty();
  return change;
}

Trust::Change Trust::Join(const TrustUpdate& grant) {
  Change change{.any = true, .secret = true};
  const auto former = std::exchange(entries_, {});
  epoch_ = grant.epoch;
  secret_ = grant.secret;
  for (const TrustEntry& entry : grant.entries) Consider(entry, change);
  const std::string name = former.contains(self_) ? former.at(self_).name : "";
  Consider({.id = self_, .name = name}, change);
  for (const auto& [id, entry] : former) {
    if (entry.role != TrustRole::kForgotten && !IsTrusted(id)) change.lost.push_back(id);
  }
  return change;
}

TrustUpdate Trust::UpdateFor(const NodeId& peer) const {
  TrustUpdate update{.epoch = epoch_, .entries = entries()};
  if (!IsGuest(peer)) update.secret = secret_;
  return update;
}

}  // namespace exo::cluster
