// The instances of other owners, by their summaries: soft state that its owner refreshes and that
// fades without it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/context.h"

namespace exo::cluster {

class Catalog {
 public:
  explicit Catalog(Context& context) : context_(context) {}

  struct Gone {
    wire::Plan plan;
    NodeId owner;
    wire::Cause cause;
  };
  std::vector<Gone> TakeGone() { return std::exchange(gone_, {}); }

  // A summary of `from`; ignored unless it is about a valid plan that the sender owns, or has
  // adopted as its lead.
  void OnSummary(const NodeId& from, const wire::InstanceSummary& summary);
  // The READY instances that it owned belong to their leads from now on, unless `alive(lead)` says
  // that those are lost, too, or one of their devices was lost meanwhile: a lead that has restarted
  // adopts nothing. The others are gone, and so are those that it computed for an owner that is out
  // of reach.
  void OnPeerLost(const NodeId& peer, const std::function<bool(const NodeId&)>& alive,
                  const std::string& detail);
  // The entry of an instance that this node takes over.
  std::optional<wire::InstanceSummary> Take(const PlanId& plan);
  void OnTime();

  // The best instance of a model: those that lost no device before others, then READY ones, then
  // the lower owner. Null: none (a draining one does not count).
  const wire::InstanceSummary* Find(const ModelId& model) const;
  // Whether there is any, a draining one included.
  bool Has(const ModelId& model) const;
  // All of its instances that are not draining.
  std::vector<const wire::InstanceSummary*> Of(const ModelId& model) const;
  const wire::InstanceSummary* Find(const PlanId& plan) const;
  std::vector<wire::InstanceSummary> All() const;
  // use(summary, how long without a request).
  template <class Use>
  void EachIdle(const Use& use) const {
    for (const auto& [id, entry] : entries_) {
      use(entry.summary,
          std::chrono::milliseconds(entry.summary.idle_ms) + (context_.now - entry.seen));
    }
  }

 private:
  static constexpr size_t kMaxInstances = 512;
  struct Entry {
    wire::InstanceSummary summary;
    Time seen{};
    bool claimed = false;     // its lead has said that it adopted it
    bool stage_lost = false;  // and the owner has said nothing since: it may not run any more
  };
  Context& context_;
  std::map<PlanId, Entry> entries_;
  std::vector<Gone> gone_;
};

// READY before others, then the lower owner: the rule by which duplicates converge, and entries
// choose.
bool Preferred(const wire::InstanceSummary& a, const wire::InstanceSummary& b);

}  // namespace exo::cluster
