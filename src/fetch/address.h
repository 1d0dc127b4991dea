// Which addresses of the internet protocol are somebody's on the open internet. What a client of
// the API names must not reach a router, another program of this machine or a cloud's metadata.
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <span>

namespace exo::fetch {

// `bytes`: 4 of IPv4 or 16 of IPv6, in network order. False for loopback, private, link-local,
// shared, multicast, reserved and unspecified addresses, for an IPv6 address that carries such an
// IPv4 one (mapped, NAT64, 6to4), and for anything of another length.
// Source: IANA's registries of special-purpose addresses (RFC 6890).
bool IsPublicAddress(std::span<const uint8_t> bytes);

}  // namespace exo::fetch
