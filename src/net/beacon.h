// The UDP beacon: 32 bytes to a multicast group, over IPv4 and IPv6, and to each interface's IPv4
// broadcast address, for networks that filter mDNS. A member that receives one answers its sender
// alone, so that a newcomer sees everybody at once.
//
//   0  u32  magic "EXOB"        6  u16  port where the sender accepts peers (little-endian)
//   4  u8   version, 1          8  16   fresh random nonce
//   5  u8   0 announce, 1 reply 24  8   tag: HMAC-SHA-256(cluster secret, nonce and port), cut
//
// Thread: loop. Owner: Discovery.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/random.h"
#include "net/discovery.h"
#include "net/interfaces.h"
#include "net/socket.h"

namespace exo::net {

struct BeaconPacket {
  static constexpr size_t kBytes = 32;
  bool reply = false;
  uint16_t port = 0;
  ClusterSecret::Nonce nonce{};
  ClusterSecret::Tag tag{};
};
std::array<uint8_t, BeaconPacket::kBytes> EncodeBeacon(const BeaconPacket& packet);
// Empty for anything that is not exactly one.
std::optional<BeaconPacket> ParseBeacon(std::span<const uint8_t> bytes);

class Beacon {
 public:
  static constexpr double kPerSecondPerSource = 10;
  static constexpr double kPerSecond = 300;  // in total; loopback shares only this
  static constexpr size_t kMaxSources = 256;

  // IPv6 is left out on loopback and where the system has none. Errors: kIo when neither IPv4 nor
  // IPv6 can listen on the port.
  static Result<std::unique_ptr<Beacon>> Start(EventLoop& loop, const ClusterSecret* secret,
                                               const DiscoveryOptions& options,
                                               std::function<void(const Found&)> on_found);
  // Announces now, after 1 s and after 3 s, then every 10 s (20 % either way).
  void Burst();
  // Answers announcements of other clusters, too.
  void SetInviting(bool inviting) { inviting_ = inviting; }
  size_t interfaces() const { return joined_.size(); }
  // False when announcements have gone out for a while and none came back, as multicast does.
  bool HearsItself() const;
  // Why the last announcement did not go out; empty: it did.
  const std::string& send_error() const { return send_error_; }

 private:
  Beacon(EventLoop& loop, const ClusterSecret* secret, const DiscoveryOptions& options,
         std::function<void(const Found&)> on_found);
  // The sockets of one address family.
  struct Family {
    int family = AF_INET;
    Fd listen;  // the shared port: what everybody announces
    Fd talk;    // a port of our own: announces go out from it and replies come back to it
    std::unique_ptr<FdWatch> listen_watch;
    std::unique_ptr<FdWatch> talk_watch;
  };
  Result<void> Open();
  Result<std::unique_ptr<Family>> OpenFamily(int family);
  const Family* FamilyOf(const Interface& one) const;
  void Join();
  void Announce();
  void Receive(int fd, FdWatch& watch, const Family& family);
  void Handle(std::span<const uint8_t> bytes, const SocketAddress& from, const Family& family);
  std::array<uint8_t, BeaconPacket::kBytes> Packet(bool reply);
  bool WithinRate(const std::string& source);
  bool InScope(const Interface& one) const;
  // Does a packet by a loopback interface, or by another one, say whether announcing works?
  bool IsTelling(bool loopback) const {
    return loopback == (options_.scope == DiscoveryScope::kLoopback);
  }

  struct Bucket {
    double tokens = 0;
    Time last{};
  };

  EventLoop& loop_;
  const ClusterSecret* secret_;
  const DiscoveryOptions options_;
  std::function<void(const Found&)> on_found_;
  Rng rng_;
  std::vector<std::unique_ptr<Family>> families_;
  Timer timer_;
  unsigned burst_ = 0;
  bool inviting_ = false;
  std::vector<Interface> joined_;
  std::deque<ClusterSecret::Nonce>
      own_;  // nonces sent lately: multicast brings our own packets back
  std::string send_error_;
  std::optional<Time> unheard_since_;  // of the oldest announcement that has not come back
  std::map<std::string, Bucket> sources_;
  Bucket total_;
};

}  // namespace exo::net
