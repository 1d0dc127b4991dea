// Bugs that a test plants to show that the simulator finds them. Never set outside tests.
#pragma once

namespace exo::cluster {

struct PlantedBugs {
  bool no_plan_fence = false;     // entry and lead accept messages of any plan
  bool no_lease_expiry = false;   // participants keep memory of a vanished owner
  bool no_grant_check = false;    // participants grant more memory than they have
  bool no_token_index = false;    // resent tokens are taken for new ones
  bool no_version_check = false;  // an older record of a desired model replaces a newer one
};

}  // namespace exo::cluster
