// Who this node is: an Ed25519 key made at first start and a self-signed certificate around it. The
// id is the SHA-256 of the public key (its SubjectPublicKeyInfo in DER); names, dates and issuers
// of certificates mean nothing here.
//
// Thread: immutable after creation, any thread. Owner: app; outlives everything that holds a
// connection.
#pragma once

#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace exo::net {

class Identity {
 public:
  // Reads FOLDER/key.pem or makes it (mode 0600). Errors: kInvalid when the file is readable by
  // others or is no Ed25519 key; kIo.
  static Result<std::unique_ptr<Identity>> LoadOrCreate(const std::string& folder);
  // Makes the key that TakeNext puts in place of the one in FOLDER, and writes it beside it. Its
  // id. Errors: kIo.
  static Result<NodeId> MakeNext(const std::string& folder);
  // From the next start on FOLDER has that key; the former one is gone. Errors: kIo.
  static Result<void> TakeNext(const std::string& folder);
  // A fresh key that is never written (tests, simulations).
  static Result<std::unique_ptr<Identity>> Create();
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  const NodeId& id() const { return id_; }
  // TLS 1.3 only, both sides present a key, no tickets, no early data; for both roles.
  ssl_ctx_st* tls() const { return tls_; }

 private:
  Identity() = default;
  static Result<std::unique_ptr<Identity>> FromKey(void* evp_pkey);

  NodeId id_;
  ssl_ctx_st* tls_ = nullptr;
};

}  // namespace exo::net
