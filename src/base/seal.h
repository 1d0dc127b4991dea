// Authenticated encryption of what lies on disk: AES-256-GCM (NIST SP 800-38D) over OpenSSL.
// Nonces are random (12 bytes): good for 2^32 pieces under one key.
//
// Thread: pure, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace exo {

using SealKey = std::array<std::byte, 32>;
using SealNonce = std::array<std::byte, 12>;
using SealTag = std::array<std::byte, 16>;

// Encrypts `bytes` in place. `known` is not encrypted but must be the same to unseal.
SealTag Seal(const SealKey& key, const SealNonce& nonce, std::span<const std::byte> known,
             std::span<std::byte> bytes);
// The reverse. False: key, nonce, tag, `known` or a byte is another one; `bytes` are worthless
// then.
[[nodiscard]] bool Unseal(const SealKey& key, const SealNonce& nonce, const SealTag& tag,
                          std::span<const std::byte> known, std::span<std::byte> bytes);

}  // namespace exo
