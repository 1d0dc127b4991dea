// DNS-SD over mDNS (RFC 6762, 6763) with the avahi-core library inside this process: no daemon
// needed, and one that runs is not disturbed. Service _exo._tcp under a name that is random per
// start; the TXT record has a nonce and the tag of the beacon (net/beacon.h).
//
// Thread: Start and destructor on the loop; the library has a thread of its own, results are posted
// to the loop. Owner: Discovery.
#pragma once

#include <functional>
#include <memory>

#include "net/discovery.h"

namespace exo::net {

class Mdns {
 public:
  // Errors: kIo when the library cannot start (no multicast, port 5353 taken exclusively).
  static Result<std::unique_ptr<Mdns>> Start(EventLoop& loop, const ClusterSecret* secret,
                                             uint16_t port,
                                             std::function<void(const Found&)> on_found);
  virtual ~Mdns() = default;
};

}  // namespace exo::net
