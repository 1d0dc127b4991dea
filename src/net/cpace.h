// CPace, a balanced password-authenticated key exchange: two ends that know the same short code
// get the same strong key, and whoever is in between or at the wrong end learns nothing but
// whether one guess at the code was right. draft-irtf-cfrg-cpace-21, suite
// CPACE-RISTR255-SHA512, initiator and responder in this order, with explicit key confirmation
// (section 10.4). The group is libsodium's.
//
// A run is: both make a share, exchange the shares, derive the key, and show each other a tag.
// How often a code may be tried is the caller's business (net/invitation.h).
//
// Thread: one at a time. Secrets are wiped in the destructors and compared in constant time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace exo::net {

enum class CpaceRole : uint8_t { kInitiator, kResponder };

// What both ends must agree in beside the code. Different inputs give different keys.
struct CpaceInput {
  std::string code;                 // PRS: the secret, of any length
  std::string channel;              // CI: who talks to whom, over what
  std::string session;              // sid: never the same for two runs
  std::string own_data, peer_data;  // ADa and ADb, authenticated and not secret
};

class Cpace {
 public:
  static constexpr size_t kShareBytes = 32;
  static constexpr size_t kTagBytes = 64;
  using Share = std::array<uint8_t, kShareBytes>;
  using Scalar = std::array<uint8_t, 32>;
  using Tag = std::array<uint8_t, kTagBytes>;
  using Key = std::array<uint8_t, 64>;

  // Draws a secret scalar.
  Cpace(CpaceRole role, CpaceInput input);
  // With a given scalar: for the published vectors.
  Cpace(CpaceRole role, CpaceInput input, const Scalar& scalar);
  ~Cpace();
  Cpace(const Cpace&) = delete;
  Cpace& operator=(const Cpace&) = delete;

  // The generator of the group that code, channel and session give.
  static Share Generator(const CpaceInput& input);

  const Share& share() const { return share_; }
  // Takes the other end's share. False: it is no point of the group, the neutral element, or our
  // own (a reflection): the run must end. Once.
  [[nodiscard]] bool Take(std::span<const uint8_t> peer_share);

  // After Take. The intermediate session key (ISK).
  const Key& key() const;
  // What shows the other end that this one has the key.
  Tag OwnTag() const;
  bool TagIsValid(std::span<const uint8_t> tag) const;
  // A key for another purpose; `label` names it.
  std::array<uint8_t, 32> Derive(std::string_view label) const;

 private:
  Tag TagOver(std::span<const uint8_t> share, std::string_view data) const;

  const CpaceRole role_;
  CpaceInput input_;
  Scalar scalar_{};
  Share share_{};
  Share peer_share_{};
  std::optional<Key> key_;
};

}  // namespace exo::net
