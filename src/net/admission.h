// How many unauthenticated connections are admitted (a handshake costs about 1 ms of a core): at
// the same time and per second, from one address and in total. The answer to a flood is a closed
// socket.
//
// Thread: loop. Owner: Peers.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/units.h"

namespace exo::net {

class Admission {
 public:
  static constexpr uint32_t kAtOnce = 64;  // connections that are not yet accepted, in total
  static constexpr uint32_t kAtOncePerSource =
      16;                                    // a node opens one control session and a few links
  static constexpr double kPerSecond = 200;  // 20 % of one core
  static constexpr double kPerSecondPerSource = 20;
  static constexpr size_t kMaxSources = 1024;  // remembered; IPv6 gives an attacker any number

  // True when a connection from `source` may begin; Done must follow. Loopback shares only the
  // totals: many nodes of one machine are one address.
  bool Enter(const std::string& source, Time now);
  void Done(const std::string& source);
  uint32_t at_once() const { return at_once_; }

 private:
  // Tokens for one second's worth of handshakes, refilled with time.
  struct Bucket {
    double tokens = 0;
    Time last{};
    uint32_t at_once = 0;
  };
  static bool Take(Bucket& bucket, double rate, Time now);
  void Prune(Time now);

  uint32_t at_once_ = 0;
  Bucket total_{.tokens = kPerSecond};
  std::map<std::string, Bucket> sources_;
};

}  // namespace exo::net
