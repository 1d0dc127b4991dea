// What strangers on the network and users may offer to net: beacons, HOST:PORT texts, secrets. What
// parses survives a round trip.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "net/beacon.h"
#include "net/secret.h"
#include "net/socket.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::net;
  const std::span bytes(data, size);
  if (const auto packet = ParseBeacon(bytes)) {
    if (packet->port == 0 || !std::ranges::equal(EncodeBeacon(*packet), bytes)) std::abort();
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto address = ParseHostPort(text, 0)) {
    if (address->port == 0 || address->host.empty() || address->host.size() > 253) std::abort();
  }
  if (const auto secret = ClusterSecret::Parse(text)) {
    const auto again = ClusterSecret::Parse((*secret)->Text());
    if (!again || (*again)->Text() != (*secret)->Text()) std::abort();
  }
  return 0;
}
