#include "net/invitation.h"

#include <sodium.h>

#include <algorithm>
#include <cctype>

#include "net/socket.h"
#include "sys/system.h"

namespace exo::net {
namespace {

constexpr size_t kCodeDigits = 6;
constexpr size_t kLinkDigits = 26;  // 130 bits
constexpr std::string_view kLinkScheme = "exo://";
constexpr std::string_view kLinkAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";

std::string DrawCode() {
  return fmt::format("{:06}", randombytes_uniform(1'000'000));
}
std::string DrawLinkSecret() {
  std::string text;
  while (text.size() < kLinkDigits)
    text += kLinkAlphabet[randombytes_uniform(static_cast<uint32_t>(kLinkAlphabet.size()))];
  return text;
}

}  // namespace

void Invitation::Open(wire::TrustRole role, Time now) {
  offer_ = Offer{.code = DrawCode(), .link = DrawLinkSecret(), .role = role, .opened = now};
}

std::string Invitation::code(Time now) const {
  return offer_ && now - offer_->opened < kCodeTime ? offer_->code : "";
}

std::string Invitation::link(Time now) const {
  return offer_ && now - offer_->opened < kLinkTime ? offer_->link : "";
}

PairInviter::Answer<std::string> Invitation::Begin(const NodeId& peer, wire::PairKind kind,
                                                   Time now) {
  using wire::PairRefusal;
  const std::string secret = kind == wire::PairKind::kCode   ? code(now)
                             : kind == wire::PairKind::kLink ? link(now)
                                                             : "";
  if (secret.empty()) {
    return std::unexpected(wire::PairRefused{
        PairRefusal::kNotInviting,
        kind == wire::PairKind::kLink
            ? "the link was used already, or its time is over: run `exo invite` there for a new one"
            : "the device that was called invites nobody now, or the time of its code is over: run "
              "`exo invite` on it"});
  }
  if (running_) {
    return std::unexpected(wire::PairRefused{
        PairRefusal::kBusy, "another device is being paired at this moment: try again"});
  }
  running_ = peer;
  return secret;
}

void Invitation::End(const NodeId& peer) {
  if (running_ == peer) running_.reset();
}

wire::PairRefused Invitation::OnWrong(wire::PairKind kind) {
  const char* what = kind == wire::PairKind::kLink ? "link" : "code";
  if (offer_ && --offer_->tries > 0) {
    return {wire::PairRefusal::kWrongCode,
            fmt::format("the {} is wrong; {} more {}", what, offer_->tries,
                        offer_->tries == 1 ? "try" : "tries")};
  }
  offer_.reset();
  return {
      wire::PairRefusal::kWrongCode,
      fmt::format("the {0} is wrong, and it was the last try: run `exo invite` again for a new {0}",
                  what)};
}

Result<std::string> ParsePairCode(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c != ' ' && c != '-') digits += c;
  }
  const bool good = digits.size() == kCodeDigits && std::ranges::all_of(digits, [](char c) {
                      return std::isdigit(static_cast<unsigned char>(c)) != 0;
                    });
  if (!good) {
    return Fail(
        ErrorCode::kInvalid,
        "'{}' is no code and no link: a code has six digits, a link begins with {}, and `exo "
        "invite` shows both on the other device",
        text.substr(0, 64), kLinkScheme);
  }
  return digits;
}

std::string InviteLinkText(const InviteLink& link) {
  const bool v6 = link.address.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}{}:{}/{}", kLinkScheme, v6 ? "[" : "", link.address.host, v6 ? "]" : "",
                     link.address.port, link.secret);
}

bool LooksLikeInviteLink(std::string_view text) {
  return text.starts_with(kLinkScheme);
}

Result<InviteLink> ParseInviteLink(std::string_view text) {
  std::string_view rest = text;
  if (LooksLikeInviteLink(rest)) rest.remove_prefix(kLinkScheme.size());
  const size_t slash = rest.find('/');
  if (!LooksLikeInviteLink(text) || slash == std::string_view::npos) {
    return Fail(ErrorCode::kInvalid, "'{}' is no invite link ({}HOST:PORT/...)", text.substr(0, 64),
                kLinkScheme);
  }
  InviteLink link{.address = TRY(ParseHostPort(rest.substr(0, slash), 0)),
                  .secret = std::string(rest.substr(slash + 1))};
  const bool good =
      link.secret.size() == kLinkDigits && std::ranges::all_of(link.secret, [](char c) {
        return kLinkAlphabet.find(c) != std::string_view::npos;
      });
  if (!good) {
    return Fail(ErrorCode::kInvalid,
                "the invite link is not complete: copy all of it ({} "
                "characters behind the last /, here are {})",
                kLinkDigits, link.secret.size());
  }
  return link;
}

}  // namespace exo::net
