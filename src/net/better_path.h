// Of two ways between a pair of devices, whether their session takes the slower one: a radio or a
// tunnel, though both are on one cable.
//
// Thread: pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/peers.h"
#include "wire/messages.h"

namespace exo::net {

struct BetterPath {
  wire::InterfaceKind now = wire::InterfaceKind::kVirtual;  // the slower end of the session's way
  bool now_is_own = false;                                  // it is this device's end
  std::string now_name;                                     // "wlan0"
  wire::InterfaceRecord own, other;                         // the two ends of the better way
};
// The best one that both ends' addresses promise by being in one network; whether the other address
// answers is not looked at: two homes may call their networks alike. Nothing: the session takes the
// best one, or its ends are not known.
std::optional<BetterPath> FindBetterPath(const std::vector<wire::InterfaceRecord>& own,
                                         const std::vector<wire::InterfaceRecord>& other,
                                         const Peers::Path& path);

}  // namespace exo::net
