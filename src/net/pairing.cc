#include "net/pairing.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/seal.h"
#include "wire/codec.h"
#include "wire/limits.h"

namespace exo::net {
namespace {

using wire::PairKind;
using wire::PairRefusal;
using wire::PairRefused;

constexpr std::string_view kSealLabel = "exo-pairing-grant-1";

// Whom the key is for: the kind of invitation and both devices' keys, by their part.
std::string ChannelText(PairKind kind, const NodeId& initiator, const NodeId& listener) {
  std::string text = "exo-pairing-1";
  text += '\0';
  text += static_cast<char>(kind);
  text.append(initiator.bytes.begin(), initiator.bytes.end());
  text.append(listener.bytes.begin(), listener.bytes.end());
  return text;
}

// Of the side that `self` is on.
CpaceInput InputOf(const SecureChannel& channel, const NodeId& self, PairKind kind,
                   std::string code) {
  const bool initiator = channel.side == ProofSide::kInitiator;
  return {.code = std::move(code),
          .channel = initiator ? ChannelText(kind, self, channel.peer)
                               : ChannelText(kind, channel.peer, self),
          .session = std::string(channel.exporter.begin(), channel.exporter.end()),
          .own_data = {},
          .peer_data = {}};
}

std::vector<uint8_t> BytesOf(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

// The key is used once, so the nonce may be constant.
SealKey SealKeyOf(const Cpace& cpace) {
  SealKey key;
  const auto derived = cpace.Derive(kSealLabel);
  std::memcpy(key.data(), derived.data(), key.size());
  return key;
}

std::vector<std::byte> EncodeTrust(const wire::TrustUpdate& trust) {
  return wire::EncodeFrame(trust, 0);
}

Result<wire::TrustUpdate> DecodeTrust(std::span<const std::byte> frame) {
  const auto header = TRY(wire::ParseHeader(
      frame.first(std::min<size_t>(frame.size(), wire::kHeaderBytes)), wire::kMaxHandshakeFrame));
  if (header.FrameBytes() != frame.size() || header.tensor_bytes != 0)
    return Fail(ErrorCode::kCorrupt, "a grant of {} bytes", frame.size());
  auto message = TRY(wire::DecodeMessage(header.type, frame.subspan(wire::kHeaderBytes)));
  auto* trust = std::get_if<wire::TrustUpdate>(&message);
  if (trust == nullptr) return Fail(ErrorCode::kCorrupt, "a grant without trust");
  return std::move(*trust);
}

// Behind its tag.
std::vector<uint8_t> SealTrust(const Cpace& cpace, const wire::TrustUpdate& trust) {
  std::vector<std::byte> frame = EncodeTrust(trust);
  const SealTag tag = Seal(SealKeyOf(cpace), {}, {}, frame);
  std::vector<uint8_t> sealed(tag.size() + frame.size());
  std::memcpy(sealed.data(), tag.data(), tag.size());
  std::memcpy(sealed.data() + tag.size(), frame.data(), frame.size());
  return sealed;
}

Result<wire::TrustUpdate> UnsealTrust(const Cpace& cpace, std::span<const uint8_t> sealed) {
  SealTag tag;
  if (sealed.size() < tag.size()) return Fail(ErrorCode::kCorrupt, "a grant that is too short");
  std::memcpy(tag.data(), sealed.data(), tag.size());
  const auto rest = std::as_bytes(sealed.subspan(tag.size()));
  std::vector<std::byte> frame(rest.begin(), rest.end());
  if (!Unseal(SealKeyOf(cpace), {}, tag, {}, frame))
    return Fail(ErrorCode::kCorrupt, "a grant that is damaged");
  return DecodeTrust(frame);
}

}  // namespace

// ---- the member

PairInviter::~PairInviter() {
  if (running_) gate_.EndRun(channel_.peer);
}

wire::Message PairInviter::Refuse(PairRefused refusal) {
  done_ = true;
  return refusal;
}

wire::Message PairInviter::On(const wire::Message& message) {
  const auto* start = std::get_if<wire::PairStart>(&message);
  if (start != nullptr && !running_ && !done_) return OnStart(*start);
  const auto* confirm = std::get_if<wire::PairConfirm>(&message);
  if (confirm != nullptr && cpace_ && !done_) return OnConfirm(*confirm);
  return Refuse({PairRefusal::kNotInviting, "a message out of turn in the pairing"});
}

wire::Message PairInviter::OnStart(const wire::PairStart& start) {
  start_ = start;
  if (start.kind == PairKind::kAsk) {
    auto trust = gate_.OnAsk(channel_.peer, start.name);
    if (!trust) return Refuse(std::move(trust.error()));
    done_ = true;
    const std::vector<std::byte> frame = EncodeTrust(*trust);
    const auto* first = reinterpret_cast<const uint8_t*>(frame.data());
    return wire::PairGrant{.sealed = {first, first + frame.size()}};
  }
  auto code = gate_.BeginRun(channel_.peer, start.kind);
  if (!code) return Refuse(std::move(code.error()));
  running_ = true;
  CpaceInput input = InputOf(channel_, self_, start.kind, std::move(*code));
  input.peer_data = start.name;
  cpace_.emplace(CpaceRole::kResponder, std::move(input));
  if (!cpace_->Take(start.share))
    return Refuse({PairRefusal::kNotInviting, "the pairing began with a share that is none"});
  return wire::PairShare{BytesOf(cpace_->share())};
}

wire::Message PairInviter::OnConfirm(const wire::PairConfirm& confirm) {
  if (!cpace_->TagIsValid(confirm.tag))
    return Refuse(gate_.OnWrongCode(channel_.peer, start_.kind));
  auto trust = gate_.OnRightCode(channel_.peer, start_.kind, start_.name);
  if (!trust) return Refuse(std::move(trust.error()));
  done_ = true;
  return wire::PairGrant{BytesOf(cpace_->OwnTag()), SealTrust(*cpace_, *trust)};
}

// ---- the new device

PairJoiner::PairJoiner(const SecureChannel& channel, const NodeId& self, Ask ask)
    : ask_(std::move(ask)) {
  if (ask_.kind != PairKind::kAsk) {
    CpaceInput input = InputOf(channel, self, ask_.kind, ask_.code);
    input.own_data = ask_.name;
    cpace_.emplace(CpaceRole::kInitiator, std::move(input));
  }
}

wire::Message PairJoiner::Begin() const {
  wire::PairStart start{.kind = ask_.kind, .name = ask_.name};
  if (cpace_) start.share = BytesOf(cpace_->share());
  return start;
}

void PairJoiner::Refuse(std::string reason) {
  state_ = State::kRefused;
  refusal_ = {PairRefusal::kWrongCode, std::move(reason)};
}

std::optional<wire::Message> PairJoiner::On(const wire::Message& message) {
  if (state_ != State::kGoing) return std::nullopt;
  if (const auto* refused = std::get_if<PairRefused>(&message)) {
    state_ = State::kRefused;
    refusal_ = *refused;
    return std::nullopt;
  }
  const auto* share = std::get_if<wire::PairShare>(&message);
  if (share != nullptr && cpace_ && !confirmed_) {
    if (!cpace_->Take(share->share)) {
      Refuse("the other device began the pairing with a share that is none");
      return std::nullopt;
    }
    confirmed_ = true;
    return wire::PairConfirm{BytesOf(cpace_->OwnTag())};
  }
  const auto* grant = std::get_if<wire::PairGrant>(&message);
  if (grant != nullptr && (confirmed_ || !cpace_)) {
    OnGrant(*grant);
  } else {
    Refuse("the other device said something out of turn in the pairing");
  }
  return std::nullopt;
}

void PairJoiner::OnGrant(const wire::PairGrant& grant) {
  if (cpace_ && !cpace_->TagIsValid(grant.tag))
    return Refuse("the other device does not know the code; somebody may be in between");
  auto trust = cpace_ ? UnsealTrust(*cpace_, grant.sealed)
                      : DecodeTrust(std::as_bytes(std::span(grant.sealed)));
  if (!trust) return Refuse(trust.error().message);
  trust_ = std::move(*trust);
  state_ = State::kPaired;
}

}  // namespace exo::net
