// Finding other nodes: a UDP beacon and DNS-SD over mDNS, side by side. What it finds is a hint to
// connect to, never proof of anything; TLS and the handshake decide (net/peers.h).
//
// Nothing stable is sent in clear: beacons carry a fresh nonce and an 8-byte tag that only members
// can recognize; the mDNS name is random per start.
//
// Thread: loop thread, callbacks too; the mDNS library runs in a thread of its own inside. Owner:
// node.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/event_loop.h"
#include "net/secret.h"
#include "wire/messages.h"

namespace exo::net {

enum class DiscoveryScope : uint8_t {
  kLoopback,  // announce and listen on the loopback interface only (several nodes of one machine)
  kLan,
};

struct DiscoveryOptions {
  DiscoveryScope scope = DiscoveryScope::kLan;
  uint16_t port = 0;  // where this node accepts peers
  bool beacon = true;
  bool mdns = true;
  uint16_t beacon_port = 52425;  // the same on all nodes that are to find each other
};

struct Found {
  wire::Address address;
  bool same_cluster = false;  // the tag was made with our secret; others are only counted
};

struct DiscoveryReport {
  std::string beacon_error, mdns_error;  // why it does not run; empty: it runs, or is not wanted
  uint16_t beacon_port = 0;              // UDP; 0: no beacon
  bool mdns = false;
  size_t addresses = 0;  // of this device's interfaces, that announcements go out from
  // Multicast comes back to its sender: false when it has been sent for a while and nothing came,
  // so that something drops it.
  bool hears_itself = true;
  std::string send_error;            // of the last announcement; empty: it went out
  std::vector<wire::Address> heard;  // members that announced themselves in the last minute
};

class Discovery {
 public:
  // Starts what can be started: a mechanism that the system refuses is logged and left out.
  // `secret` may be null (then nobody is same_cluster). References outlive the object.
  static std::unique_ptr<Discovery> Start(EventLoop& loop, const ClusterSecret* secret,
                                          DiscoveryOptions options,
                                          std::function<void(const Found&)> on_found);
  virtual ~Discovery() = default;

  // Announces again in a burst (network changed, woke up, a peer was lost).
  virtual void Refresh() = 0;
  // While this device invites, it answers every announcement, so that a new device sees it at once.
  virtual void SetInviting(bool inviting) = 0;
  // Different nodes of other clusters heard in the last minute.
  virtual uint32_t foreign_nodes() const = 0;
  // Where they accept peers.
  virtual std::vector<wire::Address> ForeignAddresses() const = 0;
  // For `exo doctor`: what works and what does not.
  virtual DiscoveryReport Report() const = 0;
};

}  // namespace exo::net
