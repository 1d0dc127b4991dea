// What strangers on the network and users may offer to net: beacons, HOST:PORT texts, secrets,
// codes and links, and the messages of a pairing in any order. What parses survives a round trip,
// and nobody is let in.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "net/beacon.h"
#include "net/invitation.h"
#include "net/pairing.h"
#include "net/secret.h"
#include "net/socket.h"
#include "wire/codec.h"

namespace {

using namespace exo::net;

// Whoever gets here without the code has broken the pairing.
class ClosedGate final : public PairInviter::Gate {
 public:
  PairInviter::Answer<std::string> BeginRun(const exo::NodeId&, exo::wire::PairKind) override {
    return "135790";
  }
  void EndRun(const exo::NodeId&) override {}
  exo::wire::PairRefused OnWrongCode(const exo::NodeId&, exo::wire::PairKind) override {
    return {};
  }
  PairInviter::Answer<exo::wire::TrustUpdate> OnRightCode(const exo::NodeId&, exo::wire::PairKind,
                                                          const std::string&) override {
    std::abort();
  }
  PairInviter::Answer<exo::wire::TrustUpdate> OnAsk(const exo::NodeId&,
                                                    const std::string&) override {
    return std::unexpected(exo::wire::PairRefused{});
  }
};

// Frames of two bytes of length and one of type, for both ends.
void Pair(std::span<const uint8_t> bytes) {
  const exo::NodeId joiner_id{{1}}, inviter_id{{2}};
  ClosedGate gate;
  PairInviter inviter({ProofSide::kListener, joiner_id, {9}}, inviter_id, gate);
  PairJoiner joiner({ProofSide::kInitiator, inviter_id, {9}}, joiner_id, {.code = "246802"});
  while (bytes.size() > 3) {
    const size_t size = std::min<size_t>(bytes[0] | bytes[1] << 8, bytes.size() - 3);
    const auto message = exo::wire::DecodeMessage(bytes[2], std::as_bytes(bytes.subspan(3, size)));
    bytes = bytes.subspan(3 + size);
    if (!message) continue;
    if (!inviter.done()) (void)inviter.On(*message);
    (void)joiner.On(*message);
    if (joiner.state() == PairJoiner::State::kPaired) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
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
  if (const auto code = ParsePairCode(text)) {
    if (code->size() != 6) std::abort();
  }
  if (const auto link = ParseInviteLink(text)) {
    const auto again = ParseInviteLink(InviteLinkText(*link));
    if (!again || again->secret != link->secret || again->address != link->address) std::abort();
  }
  Pair(bytes);
  return 0;
}
