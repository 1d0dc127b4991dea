// The instances of other owners, by their summaries: soft state that its owner refreshes and that
// fades without it.
#pragma once

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
    std::string reason;
  };
  std::vector<Gone> TakeGone() { return std::exchange(gone_, {}); }

  // A summary of `from`; ignored unless it is about a valid plan of the sender.
  void OnSummary(const NodeId& from, const wire::InstanceSummary& summary);
  void OnOwnerLost(const NodeId& owner, const std::string& why);
  void OnTime();

  // The best instance of a model: READY before others, then the lower owner. Null: none (a draining
  // one does not count).
  const wire::InstanceSummary* Find(const ModelId& model) const;
  const wire::InstanceSummary* Find(const PlanId& plan) const;
  std::vector<wire::InstanceSummary> All() const;

 private:
  static constexpr size_t kMaxInstances = 512;
  struct Entry {
    wire::InstanceSummary summary;
    Time seen{};
  };
  Context& context_;
  std::map<PlanId, Entry> entries_;
  std::vector<Gone> gone_;
};

// READY before others, then the lower owner: the rule by which duplicates converge, and entries
// choose.
bool Preferred(const wire::InstanceSummary& a, const wire::InstanceSummary& b);

}  // namespace exo::cluster
