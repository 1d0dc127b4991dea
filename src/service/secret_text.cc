#include "service/secret_text.h"

#include <openssl/crypto.h>

#include <array>

#include "base/sha256.h"
#include "sys/files.h"

namespace exo::service {

std::string NewSecretText() {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<std::byte, kSecretBytes> bytes;
  sys::FillRandom(bytes);
  std::string text;
  unsigned bits = 0;
  int count = 0;
  for (const std::byte byte : bytes) {
    bits = bits << 8 | std::to_integer<unsigned>(byte);
    for (count += 8; count >= 6; count -= 6) text += kDigits[bits >> (count - 6) & 63];
  }
  text += kDigits[bits << (6 - count) & 63];
  return text;
}

Hash256 HashOfSecret(std::string_view text) {
  Sha256 hash;
  return hash.Update(text).Finish();
}

bool SameHash(const Hash256& a, const Hash256& b) {
  return CRYPTO_memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

}  // namespace exo::service
