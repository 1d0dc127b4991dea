// The invitation that a device has open: a code of six digits for two minutes, a link for ten, one
// new device at a time, three wrong tries, one success. With three tries of a million codes a
// stranger gets in with a chance of 3 in 10^6 for each invitation that a user opens.
//
// Thread: one at a time; times are those of one monotonic clock.
#pragma once

#include <optional>
#include <string>

#include "base/units.h"
#include "net/pairing.h"

namespace exo::net {

class Invitation {
 public:
  static constexpr int kTries = 3;
  static constexpr Time kCodeTime = std::chrono::seconds(120);
  static constexpr Time kLinkTime = std::chrono::minutes(10);

  // Fresh ones, replacing what was open.
  void Open(wire::TrustRole role, Time now);
  void Close() { offer_.reset(); }

  // What to show: six digits; 26 characters of Crockford's base 32. Empty: not open any more.
  std::string code(Time now) const;
  std::string link(Time now) const;
  wire::TrustRole role() const { return offer_ ? offer_->role : wire::TrustRole::kGuest; }
  int tries_left() const { return offer_ ? offer_->tries : 0; }

  // As those of PairInviter::Gate.
  PairInviter::Answer<std::string> Begin(const NodeId& peer, wire::PairKind kind, Time now);
  void End(const NodeId& peer);
  wire::PairRefused OnWrong(wire::PairKind kind);

 private:
  struct Offer {
    std::string code, link;
    wire::TrustRole role = wire::TrustRole::kMember;
    Time opened{};
    int tries = kTries;
  };
  std::optional<Offer> offer_;
  std::optional<NodeId> running_;  // the device that is being paired
};

// The digits of a code that was typed in, without spaces and dashes. Errors: kInvalid.
Result<std::string> ParsePairCode(std::string_view text);

// An invite link: exo://HOST:PORT/SECRET.
struct InviteLink {
  wire::Address address;
  std::string secret;
};
std::string InviteLinkText(const InviteLink& link);
bool LooksLikeInviteLink(std::string_view text);
// Errors: kInvalid with what is wrong.
Result<InviteLink> ParseInviteLink(std::string_view text);

}  // namespace exo::net
