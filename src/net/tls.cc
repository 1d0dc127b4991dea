#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/sha256.h"

namespace exo::net {

// Records wait here until Flush, or until there are kFlushAt bytes of them (four full records):
// fewer system calls and fuller segments than OpenSSL's own socket layer, and no SIGPIPE.
struct TlsStream::Transport {
  static constexpr size_t kFlushAt = 64 << 10;
  explicit Transport(int f) : fd(f) {}

  // True when nothing is left; otherwise errno_ is EAGAIN or why the socket failed.
  bool Flush() {
    while (begin < out.size()) {
      const ssize_t sent = ::send(fd, out.data() + begin, out.size() - begin, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) {
        error = errno;
        return false;
      }
      begin += static_cast<size_t>(sent);
    }
    out.clear();
    begin = 0;
    return true;
  }

  int fd;
  int error = 0;
  bool ended = false;  // the peer's system closed its direction
  std::vector<char> out;
  size_t begin = 0;
};

namespace {

using Transport = TlsStream::Transport;

Transport& Of(BIO* bio) {
  return *static_cast<Transport*>(BIO_get_data(bio));
}

int BioWrite(BIO* bio, const char* data, int size) {
  Transport& transport = Of(bio);
  BIO_clear_retry_flags(bio);
  if (transport.out.size() - transport.begin >= Transport::kFlushAt && !transport.Flush()) {
    if (transport.error == EAGAIN) BIO_set_retry_write(bio);
    return -1;
  }
  transport.out.insert(transport.out.end(), data, data + size);
  return size;
}

int BioRead(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  for (;;) {
    const ssize_t got = ::recv(Of(bio).fd, data, static_cast<size_t>(size), 0);
    if (got == 0) Of(bio).ended = true;
    if (got >= 0) return static_cast<int>(got);
    if (errno == EINTR) continue;
    Of(bio).error = errno;
    if (errno == EAGAIN) BIO_set_retry_read(bio);
    return -1;
  }
}

long BioControl(BIO* bio, int command, long, void*) {
  if (command != BIO_CTRL_FLUSH) return command == BIO_CTRL_DUP ? 1 : 0;
  BIO_clear_retry_flags(bio);
  if (Of(bio).Flush()) return 1;
  if (Of(bio).error == EAGAIN) BIO_set_retry_write(bio);
  return -1;
}

BIO* MakeBio(Transport* transport) {
  // Made once, never freed: OpenSSL method tables live as long as the process.
  static BIO_METHOD* const method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "exo socket");
    CHECK(m != nullptr);
    BIO_meth_set_write(m, BioWrite);
    BIO_meth_set_read(m, BioRead);
    BIO_meth_set_ctrl(m, BioControl);
    return m;
  }();
  BIO* bio = BIO_new(method);
  CHECK(bio != nullptr);
  BIO_set_data(bio, transport);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace

std::string DrainTlsErrors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    char line[256];
    ERR_error_string_n(code, line, sizeof(line));
    if (!text.empty()) text += "; ";
    text += line;
  }
  return text.empty() ? "no reason given" : text;
}

Result<NodeId> IdOfCertificate(const x509_st* certificate) {
  const EVP_PKEY* key = certificate == nullptr ? nullptr : X509_get0_pubkey(certificate);
  if (key == nullptr || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519) {
    ERR_clear_error();
    return Fail(ErrorCode::kInvalid, "the peer has no Ed25519 key");
  }
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) return Fail(ErrorCode::kInvalid, "the peer's key cannot be encoded");
  const Hash256 hash = Sha256Of(std::as_bytes(std::span(der, static_cast<size_t>(size))));
  OPENSSL_free(der);
  return NodeId{hash.bytes};
}

TlsStream::TlsStream(const Identity& identity, Fd fd, ProofSide side)
    : side_(side), fd_(std::move(fd)), transport_(std::make_unique<Transport>(fd_.get())) {
  ssl_ = SSL_new(identity.tls());
  CHECK(ssl_ != nullptr);
  BIO* bio = MakeBio(transport_.get());
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_read_ahead(ssl_, 1);  // the head of a record and the record in one system call
  if (side == ProofSide::kInitiator) {
    SSL_set_connect_state(ssl_);
  } else {
    SSL_set_accept_state(ssl_);
  }
}

TlsStream::~TlsStream() {
  SSL_free(ssl_);
}

TlsStream::Step TlsStream::Outcome(int result) {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ) return Step::kWantRead;
  if (error == SSL_ERROR_WANT_WRITE) return Step::kWantWrite;
  if (error_.empty()) {
    if (error == SSL_ERROR_ZERO_RETURN) {
      error_ = "closed by the peer";
    } else if (error == SSL_ERROR_SYSCALL && transport_->error != 0 &&
               transport_->error != EAGAIN) {
      error_ = std::strerror(transport_->error);
    } else if (transport_->ended) {
      error_ = "the connection was cut";
    } else {
      error_ = "TLS: " + DrainTlsErrors();
    }
  }
  ERR_clear_error();
  return Step::kClosed;
}

TlsStream::Step TlsStream::Handshake() {
  if (handshaken_) return Step::kDone;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result != 1) {
    const Step step = Outcome(result);
    if (step == Step::kClosed) (void)transport_->Flush();  // the alert that says why
    return step;
  }
  const auto peer = IdOfCertificate(SSL_get0_peer_certificate(ssl_));
  if (!peer) {
    error_ = peer.error().message;
    return Step::kClosed;
  }
  peer_ = *peer;
  handshaken_ = true;
  return Step::kDone;
}

TlsStream::Step TlsStream::Read(std::span<std::byte> to, size_t* bytes) {
  ERR_clear_error();
  *bytes = 0;
  const int result = SSL_read_ex(ssl_, to.data(), to.size(), bytes);
  return result == 1 ? Step::kDone : Outcome(result);
}

TlsStream::Step TlsStream::Write(std::span<const std::byte> from, size_t* bytes) {
  ERR_clear_error();
  *bytes = 0;
  const int result = SSL_write_ex(ssl_, from.data(), from.size(), bytes);
  return result == 1 ? Step::kDone : Outcome(result);
}

TlsStream::Step TlsStream::Flush() {
  if (transport_->Flush()) return Step::kDone;
  if (transport_->error == EAGAIN) return Step::kWantWrite;
  if (error_.empty()) error_ = std::strerror(transport_->error);
  return Step::kClosed;
}

void TlsStream::WriteClose() {
  ERR_clear_error();
  if (handshaken_) (void)SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::array<uint8_t, 32> TlsStream::Exporter() const {
  static constexpr char kLabel[] = "EXPORTER-exo-cluster";
  std::array<uint8_t, 32> out{};
  CHECK(SSL_export_keying_material(ssl_, out.data(), out.size(), kLabel, sizeof(kLabel) - 1,
                                   nullptr, 0, 0) == 1);
  return out;
}

}  // namespace exo::net
