#include "net/tls_server.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <climits>
#include <cstring>

#include "base/check.h"
#include "net/openssl_handles.h"
#include "net/tls.h"

namespace exo::net {
namespace {

Bio BioOf(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// No key that is locked: nobody is there to type the passphrase.
int NoPassphrase(char*, int, int, void*) {
  return -1;
}

// HTTP/1.1 is what is spoken; a client that wants something else alone finds out by itself.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* size,
                   const unsigned char* offered, unsigned offered_size, void*) {
  static constexpr std::string_view kHttp = "http/1.1";
  for (unsigned at = 0; at < offered_size; at += 1U + offered[at]) {
    if (std::string_view(reinterpret_cast<const char*>(offered + at + 1), offered[at]) != kHttp)
      continue;
    *chosen = offered + at + 1;
    *size = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

Result<SslContext> MakeServerContext() {
  SslContext context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* c = context.get();
  const bool ok = c != nullptr && SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) == 1 &&
                  SSL_CTX_set_num_tickets(c, 0) == 1 && SSL_CTX_set_max_early_data(c, 0) == 1;
  if (!ok) return Fail(ErrorCode::kIo, "cannot set up TLS 1.3: {}", DrainTlsErrors());
  SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);  // idle connections hold no records
  SSL_CTX_set_verify(c, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_select_cb(c, &ChooseProtocol, nullptr);
  return context;
}

Result<void> UseChain(SSL_CTX* context, const std::string& pem) {
  const Bio bio = BioOf(pem);
  const Certificate leaf(PEM_read_bio_X509(bio.get(), nullptr, &NoPassphrase, nullptr));
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return Fail(ErrorCode::kInvalid, "the certificate is none in PEM form: {}", DrainTlsErrors());
  }
  for (;;) {
    Certificate next(PEM_read_bio_X509(bio.get(), nullptr, &NoPassphrase, nullptr));
    if (!next) break;
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1)
      return Fail(ErrorCode::kInvalid, "the certificate's chain: {}", DrainTlsErrors());
    (void)next.release();
  }
  ERR_clear_error();  // the end of the file
  return {};
}

std::string FingerprintOf(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned size = 0;
  CHECK(X509_digest(certificate, EVP_sha256(), hash.data(), &size) == 1);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{}{:02X}", i == 0 ? "" : ":", hash[i]);
  return text;
}

}  // namespace

Result<std::unique_ptr<TlsServer>> TlsServer::Create(const ServerCertificate& certificate) {
  SslContext context = TRY(MakeServerContext());
  TRY(UseChain(context.get(), certificate.chain));
  const Key key(
      PEM_read_bio_PrivateKey(BioOf(certificate.key).get(), nullptr, &NoPassphrase, nullptr));
  if (!key) {
    return Fail(ErrorCode::kInvalid, "the key is none in PEM form without a passphrase: {}",
                DrainTlsErrors());
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1)
    return Fail(ErrorCode::kInvalid, "the key is not the certificate's: {}", DrainTlsErrors());
  std::unique_ptr<TlsServer> server(new TlsServer);
  server->fingerprint_ = FingerprintOf(SSL_CTX_get0_certificate(context.get()));
  server->context_ = context.release();
  return server;
}

TlsServer::~TlsServer() {
  SSL_CTX_free(context_);
}

TlsSession::TlsSession(const TlsServer& server)
    : ssl_(SSL_new(server.context())), in_(BIO_new(BIO_s_mem())), out_(BIO_new(BIO_s_mem())) {
  CHECK(ssl_ != nullptr && in_ != nullptr && out_ != nullptr);
  BIO_set_mem_eof_return(in_, -1);  // nothing there now is not the end
  SSL_set_bio(ssl_, in_, out_);
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

TlsSession::State TlsSession::Open(std::string_view bytes, std::string& plain) {
  ERR_clear_error();
  CHECK(bytes.size() <= INT_MAX);
  if (!bytes.empty() && BIO_write(in_, bytes.data(), static_cast<int>(bytes.size())) <= 0)
    return State::kBroken;
  std::array<char, 16 << 10> piece;
  for (;;) {
    size_t count = 0;
    const int result = SSL_read_ex(ssl_, piece.data(), piece.size(), &count);
    if (result == 1) {
      plain.append(piece.data(), count);
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ) return State::kGoesOn;
    return error == SSL_ERROR_ZERO_RETURN ? State::kEnded : State::kBroken;
  }
}

void TlsSession::Seal(std::string_view plain) {
  ERR_clear_error();
  size_t written = 0;
  // Into memory, which takes all of it; it fails only after an error that Open has told.
  if (!plain.empty()) (void)SSL_write_ex(ssl_, plain.data(), plain.size(), &written);
  ERR_clear_error();
}

void TlsSession::Close() {
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_) == 1) (void)SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::string TlsSession::TakeOutput() {
  std::string bytes(output_bytes(), '\0');
  if (!bytes.empty()) CHECK(BIO_read(out_, bytes.data(), static_cast<int>(bytes.size())) > 0);
  return bytes;
}

size_t TlsSession::output_bytes() const {
  return BIO_ctrl_pending(out_);
}

}  // namespace exo::net
