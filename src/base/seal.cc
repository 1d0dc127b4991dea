#include "base/seal.h"

#include <openssl/evp.h>

#include <climits>
#include <memory>

#include "base/check.h"

namespace exo {
namespace {

const unsigned char* In(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* Out(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

// What both directions begin with: everything but the tag.
Context Run(bool encrypt, const SealKey& key, const SealNonce& nonce,
            std::span<const std::byte> known, std::span<std::byte> bytes) {
  CHECK(known.size() <= INT_MAX && bytes.size() <= INT_MAX);
  Context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  CHECK(context != nullptr);
  int done = 0;
  CHECK_EQ(EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, In(key), In(nonce),
                             encrypt ? 1 : 0),
           1);
  CHECK_EQ(
      EVP_CipherUpdate(context.get(), nullptr, &done, In(known), static_cast<int>(known.size())),
      1);
  CHECK_EQ(
      EVP_CipherUpdate(context.get(), Out(bytes), &done, In(bytes), static_cast<int>(bytes.size())),
      1);
  return context;
}

}  // namespace

SealTag Seal(const SealKey& key, const SealNonce& nonce, std::span<const std::byte> known,
             std::span<std::byte> bytes) {
  const Context context = Run(true, key, nonce, known, bytes);
  int done = 0;
  SealTag tag;
  CHECK_EQ(EVP_CipherFinal_ex(context.get(), nullptr, &done), 1);
  CHECK_EQ(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, tag.size(), tag.data()), 1);
  return tag;
}

bool Unseal(const SealKey& key, const SealNonce& nonce, const SealTag& tag,
            std::span<const std::byte> known, std::span<std::byte> bytes) {
  const Context context = Run(false, key, nonce, known, bytes);
  SealTag expected = tag;  // OpenSSL takes it as writable
  int done = 0;
  CHECK_EQ(
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, expected.size(), expected.data()),
      1);
  return EVP_CipherFinal_ex(context.get(), nullptr, &done) == 1;
}

}  // namespace exo
