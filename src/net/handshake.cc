#include "net/handshake.h"

#include <algorithm>
#include <utility>

namespace exo::net {

using wire::Hello;
using wire::HelloReply;
using wire::Message;
using wire::RefusalCode;

namespace {

// For people at the device that speaks `ours`.
std::string VersionText(const wire::Protocols& theirs, const wire::Protocols& ours) {
  return fmt::format("it speaks {}, this device {}: update exo on {}", TextOf(theirs), TextOf(ours),
                     theirs.newest < ours.newest ? "it" : "this device");
}

}  // namespace

std::optional<uint32_t> CommonVersion(const wire::Protocols& a, const wire::Protocols& b) {
  const uint32_t newest = std::min(a.newest, b.newest);
  if (newest < std::max(a.oldest, b.oldest)) return std::nullopt;
  return newest;
}

Handshake::Handshake(const SecureChannel& channel, const NodeId& self, const ClusterSecret* secret,
                     Hello hello, Gate& gate)
    : channel_(channel), self_(self), secret_(secret), hello_(std::move(hello)), gate_(gate) {}

Hello Handshake::Opening() const {
  Hello opening;
  opening.protocols = hello_.protocols;
  if (secret_ != nullptr) {
    const auto proof = initiator()
                           ? secret_->Proof(channel_.side, channel_.exporter, self_, channel_.peer)
                           : secret_->Proof(channel_.side, channel_.exporter, channel_.peer, self_);
    opening.proof.assign(proof.begin(), proof.end());
  }
  return opening;
}

Handshake::Messages Handshake::Begin() {
  if (!initiator()) return {};
  Messages out;
  out.emplace_back(Opening());
  return out;
}

Handshake::Messages Handshake::On(const Message& message) {
  if (state_ != State::kGoing) return {};
  if (const auto* reply = std::get_if<HelloReply>(&message)) return OnReply(*reply);
  const auto* hello = std::get_if<Hello>(&message);
  if (hello != nullptr && due_ == Due::kOpening) return OnOpening(*hello);
  if (hello != nullptr && due_ == Due::kFull) return OnFull(*hello);
  return Refuse(RefusalCode::kNotMember, "a message out of turn in the handshake");
}

// Each side reads a sentence of its own.
Handshake::Messages Handshake::RefuseVersion() {
  Messages out = Refuse({.code = RefusalCode::kVersion,
                         .reason = VersionText(hello_.protocols, peer_protocols_),
                         .protocols = hello_.protocols});
  refusal_.reason = VersionText(peer_protocols_, hello_.protocols);
  return out;
}

Handshake::Messages Handshake::OnOpening(const Hello& hello) {
  peer_protocols_ = hello.protocols;
  if (!CommonVersion(peer_protocols_, hello_.protocols)) return RefuseVersion();
  const ProofSide theirs = initiator() ? ProofSide::kListener : ProofSide::kInitiator;
  proven_ =
      secret_ != nullptr &&
      (initiator()
           ? secret_->ProofIsValid(theirs, channel_.exporter, self_, channel_.peer, hello.proof)
           : secret_->ProofIsValid(theirs, channel_.exporter, channel_.peer, self_, hello.proof));
  if (auto refusal = gate_.CheckMember(channel_.peer, proven_)) return Refuse(std::move(*refusal));
  due_ = Due::kFull;
  if (initiator()) return {};
  Messages out;
  out.emplace_back(Opening());
  out.emplace_back(hello_);
  return out;
}

Handshake::Messages Handshake::OnFull(const Hello& hello) {
  peer_hello_ = hello;
  peer_hello_.proof.clear();
  peer_protocols_ = hello.protocols;
  if (!CommonVersion(peer_protocols_, hello_.protocols)) return RefuseVersion();
  if (hello.numerics != hello_.numerics) {
    return Refuse(
        RefusalCode::kNumerics,
        fmt::format(
            "the devices compute differently (arithmetic {} and {}): answers could change between "
            "them; run the same version of exo on both",
            hello.numerics.Short(), hello_.numerics.Short()));
  }
  due_ = Due::kReply;
  if (!initiator()) return {};
  if (auto refusal = gate_.Decide(channel_.peer, peer_hello_)) return Refuse(std::move(*refusal));
  Messages out;
  out.emplace_back(hello_);
  out.emplace_back(HelloReply{.accepted = true});
  return out;
}

Handshake::Messages Handshake::OnReply(const HelloReply& reply) {
  if (!reply.accepted) {
    state_ = State::kRefusedByPeer;
    refusal_ = reply;
    if (reply.protocols.newest == 0) return {};
    peer_protocols_ = reply.protocols;
    if (reply.code == RefusalCode::kVersion)
      refusal_.reason = VersionText(peer_protocols_, hello_.protocols);
    return {};
  }
  if (due_ != Due::kReply)
    return Refuse(RefusalCode::kNotMember, "accepted too early in the handshake");
  if (initiator()) {
    state_ = State::kAccepted;
    return {};
  }
  if (auto refusal = gate_.Decide(channel_.peer, peer_hello_)) return Refuse(std::move(*refusal));
  state_ = State::kAccepted;
  Messages out;
  out.emplace_back(HelloReply{.accepted = true});
  return out;
}

Handshake::Messages Handshake::Refuse(HelloReply reply) {
  reply.accepted = false;
  state_ = State::kRefused;
  refusal_ = reply;
  Messages out;
  out.emplace_back(std::move(reply));
  return out;
}

Handshake::Messages Handshake::Refuse(RefusalCode code, std::string reason) {
  return Refuse(HelloReply{.code = code, .reason = std::move(reason)});
}

}  // namespace exo::net
