#include "net/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/sha256.h"
#include "net/private_file.h"
#include "sys/files.h"

namespace exo::net {
namespace {

constexpr char kAlphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";  // no I, L, O, U
constexpr size_t kChecksumBytes = 3;
constexpr size_t kDigits = (ClusterSecret::kBytes + kChecksumBytes) * 8 / 5;  // 56
static_assert(kDigits * 5 == (ClusterSecret::kBytes + kChecksumBytes) * 8);

// Value of a typed digit, -1 for none. I and L read as 1, O as 0: they look like them.
int DigitOf(char c) {
  c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (c == 'I' || c == 'L') c = '1';
  if (c == 'O') c = '0';
  const char* at = c == 0 ? nullptr : std::strchr(kAlphabet, c);
  return at == nullptr ? -1 : static_cast<int>(at - kAlphabet);
}

std::array<uint8_t, kChecksumBytes> Checksum(std::span<const uint8_t> secret) {
  const Hash256 hash =
      Sha256().Update("exo cluster secret checksum").Update(std::as_bytes(secret)).Finish();
  return {hash.bytes[0], hash.bytes[1], hash.bytes[2]};
}

}  // namespace

std::unique_ptr<ClusterSecret> ClusterSecret::Create() {
  std::unique_ptr<ClusterSecret> secret(new ClusterSecret);
  sys::FillRandom(std::as_writable_bytes(std::span(secret->secret_)));
  return secret;
}

ClusterSecret::~ClusterSecret() {
  OPENSSL_cleanse(secret_.data(), secret_.size());
}

std::string ClusterSecret::Text() const {
  std::vector<uint8_t> bytes(secret_.begin(), secret_.end());
  for (const uint8_t byte : Checksum(secret_)) bytes.push_back(byte);
  std::string text;
  for (size_t digit = 0; digit < kDigits; ++digit) {
    if (digit > 0 && digit % 4 == 0) text += '-';
    unsigned value = 0;
    for (size_t bit = digit * 5; bit < digit * 5 + 5; ++bit) {
      value = value << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1u);
    }
    text += kAlphabet[value];
  }
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return text;
}

Result<std::unique_ptr<ClusterSecret>> ClusterSecret::Parse(std::string_view text) {
  std::array<uint8_t, kBytes + kChecksumBytes> bytes{};
  size_t digits = 0;
  for (const char c : text) {
    if (c == '-' || std::isspace(static_cast<unsigned char>(c))) continue;
    const int value = DigitOf(c);
    if (value < 0) {
      return Fail(ErrorCode::kInvalid,
                  "the secret has a character that cannot be in it, after {} good ones", digits);
    }
    for (size_t i = 0; i < 5 && digits < kDigits; ++i) {
      const size_t bit = digits * 5 + i;
      if (value >> (4 - i) & 1) bytes[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
    }
    ++digits;
  }
  if (digits != kDigits) {
    return Fail(ErrorCode::kInvalid, "the secret has {} characters instead of {} (14 groups of 4)",
                digits, kDigits);
  }
  std::unique_ptr<ClusterSecret> secret(new ClusterSecret);
  std::memcpy(secret->secret_.data(), bytes.data(), kBytes);
  if (std::memcmp(Checksum(secret->secret_).data(), bytes.data() + kBytes, kChecksumBytes) != 0) {
    return Fail(ErrorCode::kInvalid,
                "the secret is mistyped: its checksum does not fit; compare it group by group");
  }
  return secret;
}

Result<std::unique_ptr<ClusterSecret>> ClusterSecret::FromBytes(std::span<const uint8_t> bytes) {
  if (bytes.size() != kBytes) {
    return Fail(ErrorCode::kInvalid, "a cluster secret of {} bytes instead of {}", bytes.size(),
                kBytes);
  }
  std::unique_ptr<ClusterSecret> secret(new ClusterSecret);
  std::ranges::copy(bytes, secret->secret_.begin());
  return secret;
}

std::string ClusterSecret::Fingerprint() const {
  return Hash256{Mac("exo-secret-fingerprint-1", {})}.Hex();
}

Result<std::unique_ptr<ClusterSecret>> ClusterSecret::LoadOrCreate(const std::string& folder) {
  const std::string path = folder + "/cluster.secret";
  if (!sys::NameExists(path)) {  // never over a link whose disk is away
    TRY(sys::MakeFolders(folder));
    auto secret = Create();
    TRY(sys::WriteFileAtomically(path, secret->Text() + "\n", 0600));
    return secret;
  }
  auto secret = Parse(TRY(ReadPrivateFile(path)));
  if (!secret) return Wrap(secret.error(), path);
  return secret;
}

Result<std::unique_ptr<ClusterSecret>> ClusterSecret::Replace(const std::string& folder,
                                                              std::string_view text) {
  auto secret = TRY(Parse(text));
  TRY(sys::MakeFolders(folder));
  TRY(sys::WriteFileAtomically(folder + "/cluster.secret", secret->Text() + "\n", 0600));
  return secret;
}

std::array<uint8_t, 32> ClusterSecret::Mac(std::string_view label,
                                           std::span<const uint8_t> bytes) const {
  std::vector<uint8_t> input(label.begin(), label.end());
  input.push_back(0);  // labels have no zero byte, so no two inputs collide
  input.insert(input.end(), bytes.begin(), bytes.end());
  std::array<uint8_t, 32> mac{};
  unsigned size = 0;
  CHECK(HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()), input.data(),
             input.size(), mac.data(), &size) != nullptr);
  return mac;
}

std::array<uint8_t, 32> ClusterSecret::Proof(ProofSide side, std::span<const uint8_t> exporter,
                                             const NodeId& initiator,
                                             const NodeId& listener) const {
  std::vector<uint8_t> input(exporter.begin(), exporter.end());
  input.insert(input.end(), initiator.bytes.begin(), initiator.bytes.end());
  input.insert(input.end(), listener.bytes.begin(), listener.bytes.end());
  return Mac(side == ProofSide::kInitiator ? "exo-proof-initiator-1" : "exo-proof-listener-1",
             input);
}

bool ClusterSecret::ProofIsValid(ProofSide side, std::span<const uint8_t> exporter,
                                 const NodeId& initiator, const NodeId& listener,
                                 std::span<const uint8_t> proof) const {
  const auto expected = Proof(side, exporter, initiator, listener);
  return proof.size() == expected.size() &&
         CRYPTO_memcmp(proof.data(), expected.data(), expected.size()) == 0;
}

ClusterSecret::Tag ClusterSecret::BeaconTag(const Nonce& nonce, uint16_t port) const {
  std::vector<uint8_t> input(nonce.begin(), nonce.end());
  input.push_back(static_cast<uint8_t>(port));
  input.push_back(static_cast<uint8_t>(port >> 8));
  const auto mac = Mac("exo-beacon-1", input);
  Tag tag;
  std::memcpy(tag.data(), mac.data(), tag.size());
  return tag;
}

}  // namespace exo::net
