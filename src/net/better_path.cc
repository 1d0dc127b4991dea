#include "net/better_path.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "net/socket.h"

namespace exo::net {
namespace {

using wire::InterfaceKind;
using wire::InterfaceRecord;

int RankOf(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kTunnel:
      return 1;
    case InterfaceKind::kWireless:
      return 2;
    case InterfaceKind::kWired:
      return 3;
    case InterfaceKind::kVirtual:
      break;
  }
  return 0;
}

// In network order; empty: no numeric address, or one that means something on its own link only.
std::vector<uint8_t> BytesOf(const std::string& host) {
  if (host.contains('%')) return {};
  const auto address = ToSocketAddress({host, 0});
  if (!address) return {};
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address->storage);
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address->storage);
  const bool is_v4 = address->family() == AF_INET;
  const auto* first = is_v4 ? reinterpret_cast<const uint8_t*>(&v4->sin_addr)
                            : reinterpret_cast<const uint8_t*>(&v6->sin6_addr);
  if (!is_v4 && IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) return {};
  return {first, first + (is_v4 ? sizeof(in_addr) : sizeof(in6_addr))};
}

bool InOneNetwork(const InterfaceRecord& a, const InterfaceRecord& b) {
  const std::vector<uint8_t> one = BytesOf(a.host), two = BytesOf(b.host);
  if (a.prefix != b.prefix || a.prefix == 0 || one.empty() || one.size() != two.size() ||
      a.prefix > 8 * one.size() || one == two)
    return false;
  for (uint32_t bit = 0; bit < a.prefix; ++bit) {
    if (((one[bit / 8] ^ two[bit / 8]) >> (7 - bit % 8) & 1) != 0) return false;
  }
  return true;
}

// Zones of link-local addresses are each device's own names.
const InterfaceRecord* FindHost(const std::vector<InterfaceRecord>& interfaces,
                                const std::string& host) {
  const auto bare = [](const std::string& text) { return text.substr(0, text.find('%')); };
  const auto at = std::ranges::find(interfaces, bare(host),
                                    [&](const InterfaceRecord& one) { return bare(one.host); });
  return at == interfaces.end() ? nullptr : &*at;
}

}  // namespace

std::optional<BetterPath> FindBetterPath(const std::vector<InterfaceRecord>& own,
                                         const std::vector<InterfaceRecord>& other,
                                         const Peers::Path& path) {
  const InterfaceRecord* here = FindHost(own, path.local);
  const InterfaceRecord* there = FindHost(other, path.remote);
  if (here == nullptr || there == nullptr) return std::nullopt;
  const int now = std::min(RankOf(here->kind), RankOf(there->kind));
  if (now == 0) return std::nullopt;
  const bool is_own = RankOf(here->kind) <= RankOf(there->kind);
  const InterfaceRecord& slower = is_own ? *here : *there;
  std::optional<BetterPath> best;
  int best_rank = now;
  for (const InterfaceRecord& a : own) {
    for (const InterfaceRecord& b : other) {
      const int rank = std::min(RankOf(a.kind), RankOf(b.kind));
      if (rank <= best_rank || !InOneNetwork(a, b)) continue;
      best_rank = rank;
      best = BetterPath{slower.kind, is_own, slower.name, a, b};
    }
  }
  return best;
}

}  // namespace exo::net
