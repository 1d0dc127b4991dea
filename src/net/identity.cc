#include "net/identity.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/openssl_handles.h"
#include "net/private_file.h"
#include "net/tls.h"
#include "sys/files.h"

namespace exo::net {
namespace {

std::string NextKeyPath(const std::string& folder) {
  return folder + "/key-next.pem";
}

Result<Key> MakeKey() {
  Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (!key) return Fail(ErrorCode::kIo, "cannot make an Ed25519 key: {}", DrainTlsErrors());
  return key;
}

Result<Key> ReadKey(const std::string& path, const std::string& pem) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) {
    return Fail(
        ErrorCode::kInvalid,
        "{} is not an Ed25519 key in PEM form; restore it from a backup, or delete it and let this "
        "device join as a new one",
        path);
  }
  return key;
}

Result<std::string> KeyText(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Fail(ErrorCode::kIo, "cannot write the key: {}", DrainTlsErrors());
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

// Nobody looks at anything but the key: fixed name, all of time.
Result<Certificate> SelfSign(EVP_PKEY* key) {
  Certificate certificate(X509_new());
  X509* x = certificate.get();
  X509_NAME* name = X509_get_subject_name(x);
  const bool ok =
      X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
      ASN1_TIME_set_string(X509_getm_notBefore(x), "19700101000000Z") == 1 &&
      ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z") == 1 &&
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>("exo"), -1, -1, 0) == 1 &&
      X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
      X509_sign(x, key, nullptr) != 0;
  if (!ok) return Fail(ErrorCode::kIo, "cannot make a certificate: {}", DrainTlsErrors());
  return certificate;
}

// The chain is not looked at: the key is the identity, and the handshake compares it
// (net/handshake.h).
int AcceptAnyChain(X509_STORE_CTX*, void*) {
  return 1;
}

Result<SslContext> MakeContext(EVP_PKEY* key, X509* certificate) {
  SslContext context(SSL_CTX_new(TLS_method()));
  SSL_CTX* c = context.get();
  const bool ok =
      c != nullptr && SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) == 1 &&
      SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) == 1 &&
      // AES first: 4.0 GB/s against 3.5 with AES instructions; the other for devices without.
      SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
      SSL_CTX_set1_groups_list(c, "X25519:P-256") == 1 &&
      SSL_CTX_set1_sigalgs_list(c, "ed25519") == 1 &&
      SSL_CTX_set1_client_sigalgs_list(c, "ed25519") == 1 &&
      SSL_CTX_use_certificate(c, certificate) == 1 && SSL_CTX_use_PrivateKey(c, key) == 1 &&
      SSL_CTX_set_num_tickets(c, 0) == 1 && SSL_CTX_set_max_early_data(c, 0) == 1;
  if (!ok) return Fail(ErrorCode::kIo, "cannot set up TLS 1.3: {}", DrainTlsErrors());
  SSL_CTX_set_options(c,
                      SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(c, AcceptAnyChain, nullptr);
  // One system call per burst of records instead of two per record.
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_default_read_buffer_len(c, 64 << 10);
  // A certificate of ours has 260 bytes; the default would let a stranger send 100 KiB.
  SSL_CTX_set_max_cert_list(c, 4096);
  return context;
}

}  // namespace

Result<std::unique_ptr<Identity>> Identity::FromKey(void* evp_pkey) {
  auto* key = static_cast<EVP_PKEY*>(evp_pkey);
  const Certificate certificate = TRY(SelfSign(key));
  SslContext context = TRY(MakeContext(key, certificate.get()));
  std::unique_ptr<Identity> identity(new Identity);
  identity->id_ = TRY(IdOfCertificate(certificate.get()));
  identity->tls_ = context.release();
  return identity;
}

Result<std::unique_ptr<Identity>> Identity::Create() {
  const Key key = TRY(MakeKey());
  return FromKey(key.get());
}

Result<std::unique_ptr<Identity>> Identity::LoadOrCreate(const std::string& folder) {
  const std::string path = folder + "/key.pem";
  if (!sys::NameExists(path)) {  // never over a link whose disk is away
    const Key key = TRY(MakeKey());
    TRY(sys::MakeFolders(folder));
    TRY(sys::WriteFileAtomically(path, TRY(KeyText(key.get())), 0600));
    return FromKey(key.get());
  }
  const Key key = TRY(ReadKey(path, TRY(ReadPrivateFile(path))));
  return FromKey(key.get());
}

Result<NodeId> Identity::MakeNext(const std::string& folder) {
  const Key key = TRY(MakeKey());
  TRY(sys::WriteFileAtomically(NextKeyPath(folder), TRY(KeyText(key.get())), 0600));
  return TRY(FromKey(key.get()))->id();
}

Result<void> Identity::TakeNext(const std::string& folder) {
  const std::string next = NextKeyPath(folder);
  TRY(sys::WriteFileAtomically(folder + "/key.pem", TRY(ReadPrivateFile(next)), 0600));
  return sys::RemoveFile(next);
}

Identity::~Identity() {
  SSL_CTX_free(tls_);
}

}  // namespace exo::net
