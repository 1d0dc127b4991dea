// The certificate that a node makes for itself (tls_server.h).
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "net/openssl_handles.h"
#include "net/private_file.h"
#include "net/socket.h"
#include "net/tls.h"
#include "net/tls_server.h"
#include "sys/files.h"

namespace exo::net {
namespace {

using Extension = std::unique_ptr<X509_EXTENSION, FreeWith<X509_EXTENSION_free>>;

constexpr size_t kMaxNames = 64;  // an interface has a few addresses

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

// A name may hold anything: what the extension's syntax would take apart is left out.
bool IsPlain(const std::string& name) {
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == ':' || c == '_';
  });
}

bool Names(X509* certificate, const std::string& name) {
  if (IsNumericAddress(name)) return X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
  return X509_check_host(certificate, name.c_str(), name.size(), 0, nullptr) == 1;
}

bool AddExtension(X509* x, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(x, extension.get(), -1) == 1;
}

// Valid for all the time that software writes without surprises: one that ends would cut a device
// off that nobody looks after.
Result<std::string> SignServer(EVP_PKEY* key, const std::vector<std::string>& names) {
  std::string alternatives;
  for (const std::string& name : names) {
    if (!IsPlain(name)) continue;
    alternatives += fmt::format("{}{}:{}", alternatives.empty() ? "" : ",",
                                IsNumericAddress(name) ? "IP" : "DNS", name);
  }
  const Certificate certificate(X509_new());
  X509* x = certificate.get();
  X509_NAME* subject = X509_get_subject_name(x);
  auto serial = sys::RandomValue<uint64_t>() >> 1;
  const bool ok =
      X509_set_version(x, 2) == 1 &&
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial) == 1 &&
      ASN1_TIME_set_string(X509_getm_notBefore(x), "20200101000000Z") == 1 &&
      ASN1_TIME_set_string(X509_getm_notAfter(x), "20491231235959Z") == 1 &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>("exo"), -1, -1, 0) == 1 &&
      X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key) == 1 &&
      AddExtension(x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      AddExtension(x, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
      AddExtension(x, NID_ext_key_usage, "serverAuth") &&
      AddExtension(x, NID_subject_key_identifier, "hash") &&
      AddExtension(x, NID_subject_alt_name, alternatives) && X509_sign(x, key, EVP_sha256()) != 0;
  if (!ok) return Fail(ErrorCode::kIo, "cannot make a certificate: {}", DrainTlsErrors());
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), x) != 1)
    return Fail(ErrorCode::kIo, "cannot write a certificate: {}", DrainTlsErrors());
  return TextOf(bio.get());
}

Result<std::string> LoadOrMakeKey(const std::string& path) {
  if (sys::NameExists(path)) return ReadPrivateFile(path);
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  const Bio bio(BIO_new(BIO_s_secmem()));
  if (!key ||
      PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Fail(ErrorCode::kIo, "cannot make a P-256 key: {}", DrainTlsErrors());
  }
  std::string text = TextOf(bio.get());
  TRY(sys::WriteFileAtomically(path, text, 0600));
  return text;
}

// The certificate that is there, when it is the key's and has all the names.
std::string KeptCertificate(const std::string& path, EVP_PKEY* key,
                            const std::vector<std::string>& names) {
  const auto pem = sys::ReadPlainFile(path, 64 << 10);
  if (!pem) return "";
  const Bio bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  const Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  const bool fits = certificate != nullptr && X509_check_private_key(certificate.get(), key) == 1 &&
                    std::ranges::all_of(names, [&](const std::string& name) {
                      return !IsPlain(name) || Names(certificate.get(), name);
                    });
  ERR_clear_error();
  return fits ? *pem : "";
}

}  // namespace

Result<ServerCertificate> OwnCertificate(const std::string& folder,
                                         const std::vector<std::string>& all_names) {
  std::vector<std::string> names = all_names;
  if (names.size() > kMaxNames) names.resize(kMaxNames);
  const std::string key_path = folder + "/tls-key.pem", path = folder + "/tls-cert.pem";
  TRY(sys::MakeFolders(folder));
  const std::string pem = TRY(LoadOrMakeKey(key_path));
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!key) {
    return Fail(ErrorCode::kInvalid,
                "{} is no key in PEM form; delete it, and a new one is made (clients that trust "
                "tls-cert.pem must then be given the new one)",
                key_path);
  }
  std::string chain = KeptCertificate(path, key.get(), names);
  if (chain.empty()) {
    chain = TRY(SignServer(key.get(), names));
    TRY(sys::WriteFileAtomically(path, chain, 0644));
  }
  return ServerCertificate{std::move(chain), pem};
}

}  // namespace exo::net
