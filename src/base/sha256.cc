#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace exo {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  CHECK(state_->context != nullptr);
  CHECK_EQ(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr), 1);
}
Sha256::~Sha256() = default;

Sha256& Sha256::Update(std::span<const std::byte> bytes) {
  CHECK_EQ(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()), 1);
  return *this;
}

Sha256& Sha256::Update(std::string_view text) {
  return Update(std::as_bytes(std::span(text)));
}

Sha256& Sha256::UpdateU64(uint64_t value) {
  std::byte bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i) & 255);
  return Update(bytes);
}

Hash256 Sha256::Finish() {
  Hash256 hash;
  unsigned size = 0;
  CHECK_EQ(EVP_DigestFinal_ex(state_->context, hash.bytes.data(), &size), 1);
  CHECK_EQ(size, hash.bytes.size());
  return hash;
}

Hash256 Sha256Of(std::span<const std::byte> bytes) {
  return Sha256().Update(bytes).Finish();
}

}  // namespace exo
