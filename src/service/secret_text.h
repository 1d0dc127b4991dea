// Secrets that somebody carries as text: API keys, the tokens of one-time links, session cookies.
//
// Each is 32 random bytes; only its SHA-256 is kept. A slow hash would protect words that people
// think of; 256 random bits can be found neither by guessing nor from their hash.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace exo::service {

inline constexpr size_t kSecretBytes = 32;
// No secret of ours is longer; what is, is not hashed.
inline constexpr size_t kMaxSecretText = 256;

// A fresh one, in base64url (RFC 4648) without padding.
std::string NewSecretText();
Hash256 HashOfSecret(std::string_view text);
// In a time that does not depend on where they differ.
bool SameHash(const Hash256& a, const Hash256& b);

}  // namespace exo::service
