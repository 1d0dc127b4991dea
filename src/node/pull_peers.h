// What other members have, bring or wait for of a model that is pulled: each byte comes into the
// house once.
//
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/ids.h"
#include "wire/messages.h"

namespace exo::node {

// Where a model of some content is besides here, or will be.
struct Elsewhere {
  enum class Where : uint8_t { kAlone, kNowhere, kComing, kThere };  // alone: there is nobody else
  Where where = Where::kAlone;
  std::string device = {};
  std::string name = {};  // of the model there
};

// `others`: the records of members that are alive, without this one. A guest's counts for nothing:
// nobody could tell whether it is true. `announced`: they have heard that `self` downloads it, too;
// of two that announce the same at once, the smaller id downloads it.
Elsewhere FindElsewhere(std::span<const wire::NodeRecord> others, const NodeId& self,
                        const Hash256& content, bool announced);

// Does one of them wait until the content is here?
bool IsAwaited(std::span<const wire::NodeRecord> others, const Hash256& content);

}  // namespace exo::node
