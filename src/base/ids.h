// Strong identifier types and their hexadecimal text form. All are values, compared byte by byte.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace exo {

// N bytes with a tag that keeps different kinds of identifiers apart.
template <class Tag, size_t N>
struct Bytes {
  static constexpr size_t kSize = N;
  std::array<uint8_t, N> bytes{};

  friend auto operator<=>(const Bytes&, const Bytes&) = default;
  bool IsZero() const { return *this == Bytes{}; }

  std::string Hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(2 * N, '0');
    for (size_t i = 0; i < N; ++i) {
      text[2 * i] = kDigits[bytes[i] >> 4];
      text[2 * i + 1] = kDigits[bytes[i] & 15];
    }
    return text;
  }
  // The first 8 digits, for display only.
  std::string Short() const { return Hex().substr(0, 8); }

  static std::optional<Bytes> FromHex(std::string_view text) {
    if (text.size() != 2 * N) return std::nullopt;
    Bytes id;
    for (size_t i = 0; i < 2 * N; ++i) {
      const char c = text[i];
      int digit;
      if (c >= '0' && c <= '9') {
        digit = c - '0';
      } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10;
      } else {
        return std::nullopt;
      }
      id.bytes[i / 2] = static_cast<uint8_t>(id.bytes[i / 2] << 4 | digit);
    }
    return id;
  }
};

using Hash256 = Bytes<struct HashTag, 32>;
using NodeId = Bytes<struct NodeTag, 32>;    // SHA-256 of the node's public key
using ModelId = Bytes<struct ModelTag, 32>;  // SHA-256 of the model's manifest (store/manifest.h)
using PlanId = Bytes<struct PlanTag, 16>;    // hash of plan, owner and term (wire/plan.h)
using RequestId = Bytes<struct RequestTag, 16>;            // random, made at the entry node
using ConversationId = Bytes<struct ConversationTag, 16>;  // random, made where it is begun
using MessageId = Bytes<struct MessageTag, 16>;            // chosen by the client
using NumericsId =
    Bytes<struct NumericsTag, 32>;  // rules version + known-answer run (kernels/numerics.h)

using TokenId = int32_t;

}  // namespace exo

template <class Tag, size_t N>
struct std::hash<exo::Bytes<Tag, N>> {
  size_t operator()(const exo::Bytes<Tag, N>& id) const noexcept {
    size_t value;
    static_assert(N >= sizeof(value));
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};
