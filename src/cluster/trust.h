// Whom this node trusts: the keys that take part, their roles, and the epoch of the cluster's
// secret. The record is replicated: every member sends its own with every session and when it
// changes, and takes in what it is sent.
//
// Merging. Of two opinions about a key the larger role counts (member < guest < forgotten), so
// forgotten is for ever, and the order in which updates come does not matter. A secret belongs to
// an epoch, the version of the write that made it; the larger epoch wins. Forgetting a key makes a
// new secret, since the forgotten device knows the old one. Whoever comes to know a larger epoch
// drops the members that its record does not name: a key that was admitted by the old secret after
// that moment may be the forgotten device with a new key. From a record of a smaller epoch only
// what was forgotten is taken, for the same reason; and when that is news, the newer secret may
// have reached a forgotten device, and is replaced once more (Change::stale_secret).
//
// Thread: pure, one caller at a time. Owner: node.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/messages.h"

namespace exo::cluster {

class Trust {
 public:
  // What a call has changed.
  struct Change {
    bool any = false;
    bool secret = false;                      // the record's secret and epoch
    bool demoted = false;                     // a member became a guest: it knows the secret
    bool stale_secret = false;                // a forgotten device may know the secret: Rotate
    std::vector<wire::TrustEntry> admitted;   // keys that are trusted for the first time
    std::vector<NodeId> lost;                 // keys that were trusted and are not any more
    std::vector<wire::TrustEntry> forgotten;  // of them, and others: news
  };

  explicit Trust(const NodeId& self) : self_(self) {}
  // What an earlier run had, with the secret in use; before anything else.
  void Restore(wire::TrustUpdate record);

  bool IsTrusted(const NodeId& id) const;  // as member or guest
  bool IsForgotten(const NodeId& id) const;
  bool IsGuest(const NodeId& id) const;  // also of this node itself
  bool Knows(const NodeId& id) const { return entries_.contains(id); }

  // A key is let in. A role that is known is not raised. Errors: kInvalid (forgotten),
  // kOverloaded (wire::kMaxTrustEntries).
  Result<Change> Admit(wire::TrustEntry entry);
  // For ever, with a new secret. Errors: kInvalid (this node itself).
  Result<Change> Forget(const NodeId& id, std::vector<uint8_t> new_secret, uint64_t wall_ms);
  Change Rotate(std::vector<uint8_t> new_secret, uint64_t wall_ms);
  // What a member sent.
  Change Merge(const wire::TrustUpdate& update);
  // The record of the cluster that this node joins: nothing of the former one stays, lest what was
  // forgotten there is forgotten here.
  Change Join(const wire::TrustUpdate& grant);

  // What to send to a peer: guests get no secret.
  wire::TrustUpdate UpdateFor(const NodeId& peer) const;
  const NodeId& self() const { return self_; }
  const wire::HybridTime& epoch() const { return epoch_; }
  const std::vector<uint8_t>& secret() const { return secret_; }  // empty: this node is a guest
  std::vector<wire::TrustEntry> entries() const;
  std::string NameOf(const NodeId& id) const;  // empty: not known

 private:
  // Takes in one opinion.
  void Consider(const wire::TrustEntry& entry, Change& change);
  void TakeSecret(const wire::TrustUpdate& update, Change& change);
  wire::HybridTime NextEpoch(uint64_t wall_ms) const;

  const NodeId self_;
  wire::HybridTime epoch_;
  std::vector<uint8_t> secret_;
  std::map<NodeId, wire::TrustEntry> entries_;
};

}  // namespace exo::cluster
