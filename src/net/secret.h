// The cluster secret: 256 random bits that the nodes of one home share. Whoever has it may join. It
// is never sent: both sides prove that they hold it (docs/protocol.md, Membership).
//
// Thread: immutable value, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"

namespace exo::net {

// Which end of a connection computes a proof. The two labels differ, so that an echoed proof is
// worth nothing.
enum class ProofSide : uint8_t { kInitiator, kListener };

// What a handshake needs to know of the secured connection below it (net/handshake.h): nothing of
// TLS or sockets.
struct SecureChannel {
  ProofSide side = ProofSide::kInitiator;
  NodeId peer;                         // the key that the other end has shown
  std::array<uint8_t, 32> exporter{};  // known to both ends of this connection and nobody else
};

class ClusterSecret {
 public:
  static constexpr size_t kBytes = 32;
  using Tag = std::array<uint8_t, 8>;
  using Nonce = std::array<uint8_t, 16>;

  // Reads FOLDER/cluster.secret or makes it (mode 0600). Errors: kInvalid when it is readable by
  // others or mistyped; kIo.
  static Result<std::unique_ptr<ClusterSecret>> LoadOrCreate(const std::string& folder);
  // Writes a secret that was typed in or pasted, replacing the one in FOLDER.
  static Result<std::unique_ptr<ClusterSecret>> Replace(const std::string& folder,
                                                        std::string_view text);
  static std::unique_ptr<ClusterSecret> Create();
  // 14 groups of 4 characters (Crockford's base 32, the last 24 bits are a checksum); case, spaces
  // and dashes do not matter. Errors: kInvalid with what is wrong.
  static Result<std::unique_ptr<ClusterSecret>> Parse(std::string_view text);
  std::string Text() const;
  // As members hand it on, over a connection that only they can read (wire::TrustUpdate).
  // Errors: kInvalid: another number of bytes.
  static Result<std::unique_ptr<ClusterSecret>> FromBytes(std::span<const uint8_t> bytes);
  std::span<const uint8_t> bytes() const { return secret_; }
  // Tells two secrets apart without showing one: may be kept in files and logs.
  std::string Fingerprint() const;

  // HMAC-SHA-256 over the TLS exporter of the connection and the keys of both ends.
  std::array<uint8_t, 32> Proof(ProofSide side, std::span<const uint8_t> exporter,
                                const NodeId& initiator, const NodeId& listener) const;
  bool ProofIsValid(ProofSide side, std::span<const uint8_t> exporter, const NodeId& initiator,
                    const NodeId& listener, std::span<const uint8_t> proof) const;
  // What an announcement with this fresh nonce carries: members know it, others cannot link two of
  // them.
  Tag BeaconTag(const Nonce& nonce, uint16_t port) const;

  ~ClusterSecret();
  ClusterSecret(const ClusterSecret&) = delete;
  ClusterSecret& operator=(const ClusterSecret&) = delete;

 private:
  ClusterSecret() = default;
  std::array<uint8_t, kBytes> Mac(std::string_view label, std::span<const uint8_t> bytes) const;

  std::array<uint8_t, kBytes> secret_{};
};

}  // namespace exo::net
