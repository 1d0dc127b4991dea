#include "node/inviter.h"

#include <algorithm>
#include <utility>

#include "sys/system.h"

namespace exo::node {
namespace {

using wire::PairRefusal;
using wire::PairRefused;

// A device that asks repeats it every few seconds.
constexpr Time kPendingFor = std::chrono::minutes(10);
constexpr size_t kMaxPending = 16;

std::unexpected<PairRefused> RefuseForgotten() {
  return std::unexpected(PairRefused{PairRefusal::kForgotten,
                                     "this device's key was forgotten, which is for ever; to bring "
                                     "it back, give it a new one: exo rotate-key on it, start exo "
                                     "there again, and pair it anew"});
}

}  // namespace

Inviter::Shown Inviter::Open(wire::TrustRole role, std::function<void()> ended) {
  const Time now = sys::Now();
  invitation_.Open(role, now);
  ended_ = std::move(ended);
  end_.Start(net::Invitation::kLinkTime, [this] { Close(); });
  return {invitation_.code(now), invitation_.link(now)};
}

void Inviter::Close() {
  invitation_.Close();
  end_.Cancel();
  if (auto ended = std::exchange(ended_, nullptr)) ended();
}

net::PairInviter::Answer<std::string> Inviter::BeginRun(const NodeId& peer, wire::PairKind kind) {
  if (trust_.IsRevoked(peer)) return RefuseForgotten();
  return invitation_.Begin(peer, kind, sys::Now());
}

PairRefused Inviter::OnWrongCode(const NodeId& peer, wire::PairKind kind) {
  PairRefused refusal = invitation_.OnWrong(kind);
  audit_.Add({.event = kind == wire::PairKind::kLink ? "wrong link" : "wrong code",
              .device = peer,
              .detail = refusal.reason});
  if (invitation_.tries_left() == 0) Close();
  return refusal;
}

// What the new device knows before it has a session: itself and its cluster's secret.
wire::TrustUpdate Inviter::GrantFor(const NodeId& peer) const {
  wire::TrustUpdate grant = trust_.trust().UpdateFor(peer);
  const NodeId& self = trust_.trust().self();
  std::erase_if(grant.entries, [&](const wire::TrustEntry& entry) {
    return entry.id != peer && entry.id != self;
  });
  return grant;
}

net::PairInviter::Answer<wire::TrustUpdate> Inviter::OnRightCode(const NodeId& peer,
                                                                 wire::PairKind kind,
                                                                 const std::string& name) {
  const wire::TrustRole role = invitation_.role();
  const auto admitted = trust_.Admit({.id = peer, .role = role, .name = name});
  if (!admitted)
    return std::unexpected(PairRefused{PairRefusal::kForgotten, admitted.error().message});
  audit_.Add({.event = "joined",
              .device = peer,
              .name = name,
              .detail = fmt::format("by {}{}", kind == wire::PairKind::kLink ? "link" : "code",
                                    role == wire::TrustRole::kGuest ? ", as a guest" : "")});
  DropPending(peer);
  Close();
  return GrantFor(peer);
}

net::PairInviter::Answer<wire::TrustUpdate> Inviter::OnAsk(const NodeId& peer,
                                                           const std::string& name) {
  if (trust_.IsRevoked(peer)) return RefuseForgotten();
  if (trust_.IsTrusted(peer)) return GrantFor(peer);
  const Time now = sys::Now();
  std::erase_if(pending_, [&](const auto& one) { return now - one.second.seen > kPendingFor; });
  if (pending_.size() >= kMaxPending && !pending_.contains(peer)) {
    return std::unexpected(PairRefused{
        PairRefusal::kBusy,
        fmt::format("{} devices have asked already; use a code of `exo invite`", kMaxPending)});
  }
  if (!pending_.contains(peer)) audit_.Add({.event = "asked", .device = peer, .name = name});
  pending_[peer] = {name, now};
  return std::unexpected(
      PairRefused{PairRefusal::kPending,
                  fmt::format("asked; now run there: exo approve {}", peer.Hex().substr(0, 16))});
}

std::vector<wire::TrustEntry> Inviter::Pending() const {
  std::vector<wire::TrustEntry> all;
  for (const auto& [id, asked] : pending_) {
    if (sys::Now() - asked.seen <= kPendingFor) all.push_back({.id = id, .name = asked.name});
  }
  return all;
}

}  // namespace exo::node
