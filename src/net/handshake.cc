#include "net/handshake.h"

#include <algorithm>
#include <utility>

namespace exo::net {

using wire::Hello;
using wire::HelloReply;
using wire::Message;
using wire::RefusalCode;

std::optional<uint32_t> CommonVersion(const Hello& a, const Hello& b) {
  const uint32_t newest = std::min(a.protocol_newest, b.protocol_newest);
  if (newest < std::max(a.protocol_oldest, b.protocol_oldest)) return std::nullopt;
  return newest;
}

Handshake::Handshake(const SecureChannel& channel, const NodeId& self, const ClusterSecret* secret,
                     Hello hello, Gate& gate)
    : channel_(channel), self_(self), secret_(secret), hello_(std::move(hello)), gate_(gate) {}

Hello Handshake::Opening() const {
  Hello opening;
  opening.protocol_oldest = hello_.protocol_oldest;
  opening.protocol_newest = hello_.protocol_newest;
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

std::optional<HelloReply> Handshake::CheckVersions(const Hello& hello) const {
  if (CommonVersion(hello, hello_)) return std::nullopt;
  return HelloReply{.code = RefusalCode::kVersion,
                    .reason = fmt::format(
                        "one device speaks protocol {} to {}, the other {} to {}: update exo on "
                        "the older one",
                        hello.protocol_oldest, hello.protocol_newest, hello_.protocol_oldest,
                        hello_.protocol_newest)};
}

Handshake::Messages Handshake::OnOpening(const Hello& hello) {
  if (auto refusal = CheckVersions(hello)) return Refuse(std::move(*refusal));
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
  if (auto refusal = CheckVersions(hello)) return Refuse(std::move(*refusal));
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
