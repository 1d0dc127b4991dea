// TLS 1.3 for clients that are no devices of the cluster: the server's certificate, and one
// connection as a filter between bytes of a socket and bytes of the application. Who asks is told
// by a key within; clients have no certificate.
//
// Thread: one at a time; sessions of one TlsServer on the same thread. Owner: app; outlives its
// sessions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct ssl_ctx_st;
struct ssl_st;
struct bio_st;

namespace exo::net {

// A certificate chain and its key, as PEM.
struct ServerCertificate {
  std::string chain;
  std::string key;
};
// FOLDER/tls-cert.pem and tls-key.pem (0600): made at first, and made anew with the same key when
// it lacks one of `names` (host names or addresses). ECDSA on P-256: browsers take no Ed25519.
// Errors: kInvalid (a key that is none, or that others may read), kIo.
Result<ServerCertificate> OwnCertificate(const std::string& folder,
                                         const std::vector<std::string>& names);

class TlsServer {
 public:
  // Errors: kInvalid, saying what is no certificate or key, or that they do not fit.
  static Result<std::unique_ptr<TlsServer>> Create(const ServerCertificate& certificate);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  // SHA-256 of the certificate, as browsers and openssl show it: "AB:CD:…".
  const std::string& fingerprint() const { return fingerprint_; }
  ssl_ctx_st* context() const { return context_; }

 private:
  TlsServer() = default;

  ssl_ctx_st* context_ = nullptr;
  std::string fingerprint_;
};

// Passive: knows no socket and no time. What is to be sent waits in Output, from Open too.
class TlsSession {
 public:
  explicit TlsSession(const TlsServer& server);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  enum class State { kGoesOn, kEnded, kBroken };  // ended: by the client, in due form
  // Takes bytes from the client and appends what they say to `plain`. After kBroken only Output is
  // left: the alert that says why.
  State Open(std::string_view bytes, std::string& plain);
  // Takes what is to be said. Only after the handshake, during which nothing is said.
  void Seal(std::string_view plain);
  // Says that no more will follow.
  void Close();
  // Bytes for the client, once.
  std::string TakeOutput();
  size_t output_bytes() const;

 private:
  ssl_st* ssl_ = nullptr;
  bio_st* in_ = nullptr;  // of ssl_
  bio_st* out_ = nullptr;
};

}  // namespace exo::net
