// TLS 1.3 over a non-blocking socket, for both kinds of owner: an event loop (net/connection.h) and
// a thread that polls (net/tls_link.h). Written records are gathered and sent by Flush with one
// system call.
//
// Thread: one at a time. Owner: the connection, which owns the descriptor through it.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "net/identity.h"
#include "net/secret.h"
#include "net/socket.h"

struct ssl_st;
struct x509_st;

namespace exo::net {

// Drains the calling thread's OpenSSL error queue and returns it as text.
std::string DrainTlsErrors();
// SHA-256 of the public key. Errors: kInvalid when it is not Ed25519.
Result<NodeId> IdOfCertificate(const x509_st* certificate);

class TlsStream {
 public:
  enum class Step {
    kDone,
    kWantRead,   // call again when the socket is readable
    kWantWrite,  // call again when the socket is writable
    kClosed,     // the peer ended the stream, or the connection broke: see error()
  };

  TlsStream(const Identity& identity, Fd fd, ProofSide side);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // Repeat until kDone; afterwards peer() is valid. A peer without an Ed25519 key gives kClosed.
  Step Handshake();
  // Reads 1 to `to.size()` bytes into *bytes. Always read until kWantRead before waiting on the
  // descriptor: decrypted data may be kept inside.
  Step Read(std::span<std::byte> to, size_t* bytes);
  // Takes 1 to `from.size()` bytes. After kWantWrite the next call must begin with the same bytes.
  Step Write(std::span<const std::byte> from, size_t* bytes);
  // Hands everything written to the kernel.
  Step Flush();
  // Writes close_notify, so that the peer can tell an intended end from a cut. Flush must follow.
  void WriteClose();

  ProofSide side() const { return side_; }
  int fd() const { return fd_.get(); }
  const NodeId& peer() const { return peer_; }
  // 32 bytes that only both ends of this connection know (RFC 8446 7.5, label
  // "EXPORTER-exo-cluster").
  std::array<uint8_t, 32> Exporter() const;
  // After Handshake.
  SecureChannel channel() const { return {side_, peer_, Exporter()}; }
  const std::string& error() const { return error_; }

  struct Transport;  // the socket below OpenSSL

 private:
  Step Outcome(int result);

  ProofSide side_;
  Fd fd_;
  std::unique_ptr<Transport> transport_;
  ssl_st* ssl_ = nullptr;
  NodeId peer_;
  bool handshaken_ = false;
  std::string error_;
};

}  // namespace exo::net
